//! Trees as arrays of nodes, and the walk down them.
//!
//! All is checked when a forest is made: every index is in range and no path runs in a circle, so a walk ends.

use super::super::rows::Rows;
use crate::error::OpError;
use crate::ops::BuildError;

/// The bit of a [`Child`] that says that it is a leaf.
const LEAF: u32 = 1 << 31;

/// A node's or a leaf's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child(u32);

impl Child {
    fn new(at: usize, bit: u32) -> Result<Self, BuildError> {
        let at = u32::try_from(at).ok().filter(|at| *at < LEAF);
        let at = at.ok_or_else(|| BuildError::invalid("there are more than 2^31 nodes"))?;
        Ok(Self(at | bit))
    }

    pub(super) fn node(at: usize) -> Result<Self, BuildError> {
        Self::new(at, 0)
    }

    pub(super) fn leaf(at: usize) -> Result<Self, BuildError> {
        Self::new(at, LEAF)
    }

    const fn is_leaf(self) -> bool {
        self.0 & LEAF != 0
    }

    /// The number of a leaf among the leaves, or of a node among the nodes.
    pub(super) const fn at(self) -> usize {
        (self.0 & !LEAF) as usize
    }
}

/// How a feature is compared with a node's threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
    /// Whether it is in a set.
    Member(u32),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) threshold: f64,
    pub(super) feature: u32,
    pub(super) test: Test,
    /// NaN passes.
    pub(super) missing: bool,
    pub(super) yes: Child,
    pub(super) no: Child,
}

/// What a leaf adds to one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    pub(super) leaf: usize,
    pub(super) target: usize,
    pub(super) value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

/// What came together for one target.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Score {
    pub(super) value: f64,
    /// Whether any leaf said something of it.
    pub(super) seen: bool,
}

#[derive(Debug)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    roots: Vec<Child>,
    /// Sorted.
    sets: Vec<Vec<f64>>,
    /// Where each leaf's weights end; they begin where those of the leaf before end.
    ends: Vec<usize>,
    weights: Vec<Weight>,
    pub(super) targets: usize,
    /// Features that a row must have.
    features: usize,
}

/// Rows that go down one tree after the other together.
const BLOCK: usize = 64;

impl Forest {
    pub(super) fn new(
        nodes: Vec<Node>,
        roots: Vec<Child>,
        sets: Vec<Vec<f64>>,
        mut weights: Vec<Weight>,
        leaves: usize,
        targets: usize,
    ) -> Result<Self, BuildError> {
        if targets == 0 {
            return Err(BuildError::invalid("the trees have no targets"));
        }
        check_children(&nodes, &roots, leaves)?;
        check_circles(&nodes, &roots)?;
        if let Some(weight) = weights.iter().find(|weight| weight.target >= targets) {
            return Err(BuildError::invalid(format!(
                "a leaf speaks of target {}, there are {targets}",
                weight.target
            )));
        }
        weights.sort_by_key(|weight| weight.leaf);
        let ends =
            (0..leaves).map(|leaf| weights.partition_point(|weight| weight.leaf <= leaf)).collect();
        let features = nodes.iter().map(|node| node.feature as usize + 1).max().unwrap_or(0);
        Ok(Self { nodes, roots, sets, ends, weights, targets, features })
    }

    pub(super) fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// Calls `finish` with the scores of each row, in order.
    pub(super) fn score(
        &self,
        rows: &Rows<'_>,
        aggregate: Aggregate,
        mut finish: impl FnMut(&mut [Score]),
    ) -> Result<(), OpError> {
        if rows.width < self.features {
            return Err(OpError::shape(format!(
                "rows have {} features, the trees ask for {}",
                rows.width, self.features
            )));
        }
        let mut features = Vec::new();
        let mut scores = Vec::new();
        for from in (0..rows.count).step_by(BLOCK) {
            let to = rows.count.min(from + BLOCK);
            rows.copy(from..to, &mut features)?;
            scores.clear();
            scores.resize((to - from) * self.targets, Score::default());
            for root in &self.roots {
                for (row, scores) in scores.chunks_exact_mut(self.targets).enumerate() {
                    let features = &features[row * rows.width..(row + 1) * rows.width];
                    let leaf = self.walk(*root, features);
                    for weight in self.weights_of(leaf) {
                        add(&mut scores[weight.target], weight.value, aggregate);
                    }
                }
            }
            for scores in scores.chunks_exact_mut(self.targets) {
                if aggregate == Aggregate::Average {
                    #[expect(clippy::cast_precision_loss, reason = "there are at most 2^31 trees")]
                    let trees = self.roots.len().max(1) as f64;
                    scores.iter_mut().for_each(|score| score.value /= trees);
                }
                finish(scores);
            }
        }
        Ok(())
    }

    fn weights_of(&self, leaf: usize) -> &[Weight] {
        let begin = leaf.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.weights[begin..self.ends[leaf]]
    }

    fn walk(&self, root: Child, features: &[f64]) -> usize {
        let mut at = root;
        while !at.is_leaf() {
            let node = &self.nodes[at.at()];
            let value = features[node.feature as usize];
            let passes = match node.test {
                Test::LessOrEqual => value <= node.threshold,
                Test::Less => value < node.threshold,
                Test::GreaterOrEqual => value >= node.threshold,
                Test::Greater => value > node.threshold,
                Test::Equal => value == node.threshold,
                Test::NotEqual => value != node.threshold,
                Test::Member(set) => self.sets[set as usize]
                    .binary_search_by(|member| member.total_cmp(&value))
                    .is_ok(),
            };
            at = if passes || (node.missing && value.is_nan()) { node.yes } else { node.no };
        }
        at.at()
    }
}

fn add(score: &mut Score, value: f64, aggregate: Aggregate) {
    score.value = match aggregate {
        Aggregate::Sum | Aggregate::Average => score.value + value,
        Aggregate::Min if score.seen => score.value.min(value),
        Aggregate::Max if score.seen => score.value.max(value),
        Aggregate::Min | Aggregate::Max => value,
    };
    score.seen = true;
}

fn check_children(nodes: &[Node], roots: &[Child], leaves: usize) -> Result<(), BuildError> {
    let children = nodes.iter().flat_map(|node| [node.yes, node.no]);
    for child in children.chain(roots.iter().copied()) {
        let (what, limit) = if child.is_leaf() { ("leaf", leaves) } else { ("node", nodes.len()) };
        if child.at() >= limit {
            let at = child.at();
            return Err(BuildError::invalid(format!(
                "{what} {at} is asked for, there are {limit}"
            )));
        }
    }
    Ok(())
}

/// Refuses nodes that lead back to themselves.
fn check_circles(nodes: &[Node], roots: &[Child]) -> Result<(), BuildError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; nodes.len()];
    // The second time that a node is on top of the pile, all below it are done.
    let mut pile: Vec<usize> =
        roots.iter().filter(|root| !root.is_leaf()).map(|root| root.at()).collect();
    while let Some(at) = pile.last().copied() {
        match marks[at] {
            Mark::New => {
                marks[at] = Mark::Open;
                for child in [nodes[at].yes, nodes[at].no] {
                    if child.is_leaf() {
                        continue;
                    }
                    match marks[child.at()] {
                        Mark::Open => {
                            let what = format!("node {} leads back to itself", child.at());
                            return Err(BuildError::invalid(what));
                        }
                        Mark::New => pile.push(child.at()),
                        Mark::Done => {}
                    }
                }
            }
            Mark::Open => {
                marks[at] = Mark::Done;
                pile.pop();
            }
            Mark::Done => {
                pile.pop();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn node(feature: u32, yes: Child, no: Child) -> Node {
        Node { threshold: 0.5, feature, test: Test::LessOrEqual, missing: false, yes, no }
    }

    fn forest(nodes: Vec<Node>, leaves: usize) -> Result<Forest, BuildError> {
        let weight = |leaf: usize| Weight { leaf, target: 0, value: 1.0 + leaf as f64 };
        let weights = (0..leaves).rev().map(weight).collect();
        Forest::new(nodes, vec![Child::node(0)?], Vec::new(), weights, leaves, 1)
    }

    #[test]
    fn circles_and_places_out_of_range_are_refused() {
        let (n, l) = (|at| Child::node(at).unwrap(), |at| Child::leaf(at).unwrap());
        assert!(forest(vec![node(0, n(0), l(0))], 1).is_err());
        assert!(forest(vec![node(0, l(0), n(1)), node(0, n(0), l(0))], 1).is_err());
        assert!(forest(vec![node(0, n(1), l(0))], 1).is_err());
        assert!(forest(vec![node(0, l(1), l(0))], 1).is_err());
        // Two ways to one node are no circle.
        assert!(forest(vec![node(0, n(1), n(1)), node(0, l(0), l(1))], 2).is_ok());
    }

    #[test]
    fn rows_walk_to_their_leaves() {
        let (n, l) = (|at| Child::node(at).unwrap(), |at| Child::leaf(at).unwrap());
        let forest = forest(vec![node(0, n(1), l(0)), node(2, l(1), l(2))], 3).unwrap();
        let x = Tensor::new([3, 3], vec![1.0_f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, f32::NAN]);
        let mut found = Vec::new();
        let rows = Rows::of(&x).unwrap();
        forest.score(&rows, Aggregate::Sum, |scores| found.push(scores[0].value)).unwrap();
        assert_eq!(found, [1.0, 2.0, 3.0]);
        let narrow = Tensor::new([1, 2], vec![0.0_f32; 2]);
        let rows = Rows::of(&narrow).unwrap();
        assert!(forest.score(&rows, Aggregate::Sum, |_| ()).is_err());
    }
}
