//! Which elements along an axis count at each place of the output, and how much.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "coordinates are whole numbers near the axis here, or are clamped to it"
)]

use super::coordinates::{AxisScale, Transformation};
use crate::error::OpError;
use crate::run::Context;

/// Which of two neighbours is nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
    /// As before opset 11, when it was not said: down when enlarging, up when reducing.
    Simple,
}

/// The mode of interpolation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filter {
    Nearest(Nearest),
    Linear { antialias: bool, exclude: bool },
    Cubic { a: f64, antialias: bool, exclude: bool },
}

/// The same number of taps for each place: elements and weights.
#[derive(Debug)]
pub(super) struct Taps {
    /// Taps per place.
    pub(super) width: usize,
    pub(super) elements: Vec<usize>,
    pub(super) weights: Vec<f64>,
    /// Places that lie outside of the input.
    pub(super) outside: Vec<bool>,
}

impl Taps {
    pub(super) fn of(
        axis: &AxisScale,
        filter: Filter,
        by: Transformation,
        context: &Context<'_>,
    ) -> Result<Self, OpError> {
        let mut taps = Self { width: 1, elements: vec![], weights: vec![], outside: vec![] };
        let (reach, stretch, exclude) = match filter {
            Filter::Nearest(_) => (0.0, 1.0, false),
            Filter::Linear { antialias, exclude } => (1.0, shrink(axis, antialias), exclude),
            Filter::Cubic { antialias, exclude, .. } => (2.0, shrink(axis, antialias), exclude),
        };
        // Elements `floor(x) + first` to `floor(x) + 1 - first` are within reach.
        let first = (-reach / stretch).floor() as i64 + 1;
        if !matches!(filter, Filter::Nearest(_)) {
            taps.width = first.checked_mul(-2).map_or(usize::MAX, |width| (width + 2) as usize);
        }
        context.claim(&[axis.out, taps.width], size_of::<(usize, f64)>())?;
        let last = axis.size.saturating_sub(1);
        for place in 0..axis.out {
            let at = axis.original(place, by, matches!(filter, Filter::Nearest(_)));
            taps.outside.push(at.is_none());
            let at = at.unwrap_or(0.0);
            let Filter::Nearest(nearest) = filter else {
                let (floor, from) = (at.floor(), taps.weights.len());
                for step in first..first + taps.width as i64 {
                    let element = floor + step as f64;
                    let distance = ((element - at) * stretch).abs();
                    let out = element < 0.0 || element > last as f64;
                    taps.elements.push((element.max(0.0) as usize).min(last));
                    taps.weights.push(if exclude && out { 0.0 } else { weight(filter, distance) });
                }
                let sum: f64 = taps.weights[from..].iter().sum();
                for weight in &mut taps.weights[from..] {
                    *weight /= sum;
                }
                continue;
            };
            taps.elements.push((nearest_of(at, nearest, axis.scale).max(0.0) as usize).min(last));
            taps.weights.push(1.0);
        }
        Ok(taps)
    }

    /// Places along the output.
    pub(super) fn out(&self) -> usize {
        self.outside.len()
    }

    /// Whether each place takes one element as it is.
    pub(super) fn nearest_only(&self) -> bool {
        self.width == 1 && !self.outside.contains(&true)
    }

    /// Whether nothing changes on an axis of this size.
    pub(super) fn is_identity(&self, size: usize) -> bool {
        let places = self.elements.chunks(self.width).zip(self.weights.chunks(self.width));
        size == self.out()
            && !self.outside.contains(&true)
            && places.enumerate().all(|(place, (elements, weights))| {
                let taps = || elements.iter().zip(weights);
                let others =
                    |(element, weight): (&usize, &f64)| *element != place && *weight != 0.0;
                !taps().any(others) && weights.iter().all(|weight| weight.is_finite())
            })
    }
}

/// How much of the filter's width one element takes: less than all when a reduced axis is smoothed.
fn shrink(axis: &AxisScale, antialias: bool) -> f64 {
    if antialias { axis.scale.min(1.0) } else { 1.0 }
}

fn nearest_of(at: f64, nearest: Nearest, scale: f64) -> f64 {
    match nearest {
        Nearest::RoundPreferFloor => (at - 0.5).ceil(),
        Nearest::RoundPreferCeil => (at + 0.5).floor(),
        Nearest::Floor => at.floor(),
        Nearest::Ceil => at.ceil(),
        Nearest::Simple if scale < 1.0 => at.ceil(),
        Nearest::Simple => at.trunc(),
    }
}

fn weight(filter: Filter, distance: f64) -> f64 {
    let x = distance;
    match filter {
        Filter::Nearest(_) => 1.0,
        Filter::Linear { .. } => (1.0 - x).max(0.0),
        Filter::Cubic { a, .. } if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        Filter::Cubic { a, .. } if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        Filter::Cubic { .. } => 0.0,
    }
}
