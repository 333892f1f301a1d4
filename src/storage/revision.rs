//! Whether a window computed again says anything new.

use crate::domain::WindowResult;

/// How far sums in another order may lie apart, relative to the largest value.
const ROUNDING: f64 = 1e-9;

/// Mean and deviation depend in their last digits on the order in which the readings came; the stored rows are read by time.
pub(super) fn same_figures(a: &WindowResult, b: &WindowResult) -> bool {
    let exact = |w: &WindowResult| [w.min, w.max, w.first, w.last];
    let same = |(a, b): (f64, f64)| a == b || (a.is_nan() && b.is_nan());
    let rounding = ROUNDING * a.min.abs().max(a.max.abs());
    let close = |a: f64, b: f64| same((a, b)) || (a - b).abs() <= rounding;
    a.count == b.count
        && exact(a).into_iter().zip(exact(b)).all(same)
        && close(a.mean, b.mean)
        && close(a.stddev, b.stddev)
}
