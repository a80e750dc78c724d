//! What a model may cost. A model file comes from outside: every number in it is checked against these.

/// Bounds of one model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the model file. ONNX files are protobuf messages, which end at 2 GiB anyway.
    pub file_bytes_max: u64,
    /// Bytes of all weights together, in memory; external data counts.
    pub weight_bytes_max: u64,
    /// Nodes of a model, those of subgraphs and of inlined functions among them.
    pub nodes_max: usize,
    /// How deep subgraphs and function calls may lie in each other.
    pub depth_max: usize,
    /// Axes of one tensor.
    pub rank_max: usize,
    /// Bytes of one tensor that an operator makes, or that the rows of a batch are put into.
    pub run_bytes_max: u64,
    /// Bytes of all values that wait between operators in one run, in its graph and in all bodies that run within.
    pub live_bytes_max: u64,
    /// Bytes of one result of constant folding that is kept with the model.
    pub folded_bytes_max: u64,
    /// Iterations of one Loop or Scan, whatever bound it sets itself.
    pub iterations_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes_max: 2 << 30,
            weight_bytes_max: 8 << 30,
            nodes_max: 200_000,
            depth_max: 16,
            rank_max: 32,
            run_bytes_max: 2 << 30,
            live_bytes_max: 8 << 30,
            folded_bytes_max: 256 << 20,
            iterations_max: 10_000_000,
        }
    }
}
