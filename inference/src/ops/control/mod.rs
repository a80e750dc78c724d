//! Constants, subgraphs (If, Loop, Scan), sequences and optional values.

mod branch;
mod condition;
mod constant;
mod optional;
mod repeat;
mod scan;
mod sequence;
mod sequence_map;
mod split_sequence;
mod stack;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("ConcatFromSequence", split_sequence::concat),
    ("Constant", constant::constant),
    ("ConstantOfShape", constant::of_shape),
    ("If", branch::build),
    ("Loop", repeat::build),
    ("Optional", optional::build),
    ("OptionalGetElement", optional::build),
    ("OptionalHasElement", optional::build),
    ("Scan", scan::build),
    ("SequenceAt", sequence::build),
    ("SequenceConstruct", sequence::build),
    ("SequenceEmpty", sequence::build),
    ("SequenceErase", sequence::build),
    ("SequenceInsert", sequence::build),
    ("SequenceLength", sequence::build),
    ("SequenceMap", sequence_map::build),
    ("SplitToSequence", split_sequence::split),
];
