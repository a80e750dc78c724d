//! Operators that compute each element from the elements in its place.

mod activations;
mod arithmetic;
mod bits;
pub(crate) mod cast;
mod clip;
mod comparison;
mod dropout;
mod logic;
pub(crate) mod maths;
pub(crate) mod pairs;
mod pointwise;
mod power;
mod prelu;
mod random;
pub(crate) mod selection;
pub(crate) mod small_floats;
mod twister;
mod unary;
mod variadic;
mod wide;

#[cfg(test)]
mod tests;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("Abs", unary::build_numeric),
    ("Acos", unary::build),
    ("Acosh", unary::build),
    ("Add", arithmetic::build),
    ("And", logic::build),
    ("Asin", unary::build),
    ("Asinh", unary::build),
    ("Atan", unary::build),
    ("Atanh", unary::build),
    ("Bernoulli", random::build_bernoulli),
    ("BitShift", bits::build_shift),
    ("BitwiseAnd", bits::build),
    ("BitwiseNot", bits::build),
    ("BitwiseOr", bits::build),
    ("BitwiseXor", bits::build),
    ("Cast", cast::build),
    ("CastLike", cast::build),
    ("Ceil", unary::build),
    ("Celu", activations::build),
    ("Clip", clip::build),
    ("Cos", unary::build),
    ("Cosh", unary::build),
    ("Div", arithmetic::build),
    ("Dropout", dropout::build),
    ("Elu", activations::build),
    ("Equal", comparison::build),
    ("Erf", unary::build_numeric),
    ("Exp", unary::build),
    ("Floor", unary::build),
    ("Gelu", activations::build),
    ("Greater", comparison::build),
    ("GreaterOrEqual", comparison::build),
    ("HardSigmoid", activations::build),
    ("HardSwish", activations::build),
    ("IsInf", comparison::build_test),
    ("IsNaN", comparison::build_test),
    ("LeakyRelu", activations::build),
    ("Less", comparison::build),
    ("LessOrEqual", comparison::build),
    ("Log", unary::build),
    ("Max", variadic::build),
    ("Mean", variadic::build),
    ("Min", variadic::build),
    ("Mish", activations::build),
    ("Mod", power::build_mod),
    ("Mul", arithmetic::build),
    ("Multinomial", random::build_multinomial),
    ("Neg", unary::build_numeric),
    ("Not", logic::build),
    ("Or", logic::build),
    ("PRelu", prelu::build),
    ("Pow", power::build),
    ("RandomNormal", random::build),
    ("RandomNormalLike", random::build),
    ("RandomUniform", random::build),
    ("RandomUniformLike", random::build),
    ("Reciprocal", unary::build),
    ("Relu", unary::build_numeric),
    ("Round", unary::build),
    ("Selu", activations::build),
    ("Shrink", activations::build),
    ("Sigmoid", activations::build),
    ("Sign", unary::build_numeric),
    ("Sin", unary::build),
    ("Sinh", unary::build),
    ("Softplus", activations::build),
    ("Softsign", activations::build),
    ("Sqrt", unary::build),
    ("Sub", arithmetic::build),
    ("Sum", variadic::build),
    ("Swish", activations::build),
    ("Tan", unary::build),
    ("Tanh", unary::build),
    ("ThresholdedRelu", activations::build),
    ("Where", selection::build),
    ("Xor", logic::build),
];
