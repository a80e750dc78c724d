//! An order in which nodes can run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::{Node, ValueId};

/// The nodes, each behind those whose outputs it uses; as the file has them where that is such an order. `Err`: the names of the nodes
/// that wait for each other.
pub(super) fn in_order(nodes: Vec<Node>) -> Result<Vec<Node>, Vec<String>> {
    let mut makers: HashMap<ValueId, usize> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        for output in node.outputs.iter().flatten() {
            makers.insert(*output, at);
        }
    }
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waits: Vec<usize> = vec![0; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for input in node.operands().flatten() {
            if let Some(maker) = makers.get(&input) {
                users[*maker].push(at);
                waits[at] += 1;
            }
        }
    }
    let ready = (0..nodes.len()).filter(|at| waits[*at] == 0).map(Reverse);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(at);
        for user in &users[at] {
            waits[*user] -= 1;
            if waits[*user] == 0 {
                ready.push(Reverse(*user));
            }
        }
    }
    if order.len() < nodes.len() {
        let stuck = nodes.into_iter().zip(waits).filter(|(_, waits)| *waits > 0);
        return Err(stuck.map(|(node, _)| node.name).collect());
    }
    let mut slots: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| slots[at].take()).collect())
}
