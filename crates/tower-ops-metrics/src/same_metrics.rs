/// Fails to compile if your `metrics` is another version of that crate than the one that
/// tower-ops records with.
///
/// Two versions of `metrics` in one program have a recorder each. What you count with the one
/// that has none is lost, and nothing is logged. Put this once into a crate that counts with
/// `metrics` itself; it costs nothing at run time. Give the name of the crate if it is not
/// `metrics`.
///
/// It looks at the crate that contains it. For libraries that count,
/// `cargo tree --invert metrics` lists the versions and who depends on them.
///
/// # Examples
///
/// ```
/// tower_ops_metrics::assert_same_metrics!();
///
/// metrics::counter!("orders_total").increment(1);
/// ```
///
/// Another crate than ours, here a stand-in for an older version, does not compile:
///
/// ```compile_fail,E0277
/// mod older {
///     pub struct Key;
/// }
/// tower_ops_metrics::assert_same_metrics!(older);
/// ```
///
/// With the same name and what belongs to our version, the same lines do:
///
/// ```
/// mod older {
///     pub use metrics::Key;
/// }
/// tower_ops_metrics::assert_same_metrics!(older);
/// ```
#[macro_export]
macro_rules! assert_same_metrics {
    () => {
        $crate::assert_same_metrics!(::metrics);
    };
    ($($metrics:tt)+) => {
        const _: fn() = $crate::same_metrics::<$($metrics)+::Key>;
    };
}

/// Implemented by the key of our version of `metrics`, and by nothing else.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "this is another version of the crate `metrics` than the one tower-ops records with",
    label = "what is counted with it is lost",
    note = "depend on metrics 0.24, or count with `tower_ops::metrics::counter!` and the like",
    note = "`cargo tree --invert metrics` lists the versions and who depends on them"
)]
pub trait SameMetrics {}

impl SameMetrics for metrics::Key {}

#[doc(hidden)]
pub const fn same_metrics<T: SameMetrics>() {}
