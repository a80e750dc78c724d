//! The equation of an Einsum: letters for axes, `...` for axes without letters.

use crate::ops::BuildError;

/// An axis of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Letter(char),
    /// Any number of axes.
    Ellipsis,
}

/// Terms for the operands, and one for the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Equation {
    pub(super) terms: Vec<Vec<Label>>,
    pub(super) output: Vec<Label>,
}

impl Equation {
    pub(super) fn parse(text: &str) -> Result<Self, BuildError> {
        let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let terms = left.split(',').map(term).collect::<Result<Vec<_>, _>>()?;
        let output = match right {
            Some(right) => term(right)?,
            None => implicit(&terms),
        };
        for (at, label) in output.iter().enumerate() {
            let known =
                *label == Label::Ellipsis || terms.iter().flatten().any(|known| known == label);
            if !known || output[..at].contains(label) {
                return Err(BuildError::invalid(format!(
                    "the output of {text:?} has a letter twice, or one that no operand has"
                )));
            }
        }
        Ok(Self { terms, output })
    }
}

fn term(text: &str) -> Result<Vec<Label>, BuildError> {
    let refused = || BuildError::invalid(format!("{text:?} is no term of an equation"));
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("...") {
            if labels.contains(&Label::Ellipsis) {
                return Err(refused());
            }
            labels.push(Label::Ellipsis);
            rest = behind;
        } else if letter.is_ascii_alphabetic() {
            labels.push(Label::Letter(letter));
            rest = &rest[1..];
        } else {
            return Err(refused());
        }
    }
    Ok(labels)
}

/// Without an output term: the ellipsis, then all letters that occur once, in alphabetic order.
fn implicit(terms: &[Vec<Label>]) -> Vec<Label> {
    let count = |letter: char| {
        terms.iter().flatten().filter(|label| **label == Label::Letter(letter)).count()
    };
    let letters = ('A'..='Z').chain('a'..='z').filter(|letter| count(*letter) == 1);
    let ellipsis = terms.iter().flatten().any(|label| *label == Label::Ellipsis);
    ellipsis.then_some(Label::Ellipsis).into_iter().chain(letters.map(Label::Letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_may_be_left_out() {
        let parse = |text| Equation::parse(text).unwrap();
        assert_eq!(parse("ij, jk"), parse("ij,jk->ik"));
        assert_eq!(parse("b...a"), parse("b...a->...ab"));
        assert_eq!(parse("ii").output, []);
        for wrong in ["i->ii", "i->j", "i.j", "......", "1", "a,b->c->d"] {
            assert!(Equation::parse(wrong).is_err(), "{wrong}");
        }
    }
}
