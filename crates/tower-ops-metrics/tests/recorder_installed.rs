//! Our recorder as the process's one. One test: a process has one recorder, and keeps it.

#![cfg(feature = "prometheus")]

use tower_ops_metrics::Metrics;

#[test]
fn an_installed_recorder_gets_the_counters_of_the_process_and_stays_the_only_one() {
    let (_metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    metrics::counter!("orders_total").increment(1);
    assert_eq!(prometheus.install(), Ok(()));
    metrics::counter!("orders_total").increment(2);
    let text = prometheus.render();
    assert!(text.lines().any(|line| line == "orders_total 2"), "{text}");

    let error = prometheus.install().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the process already has a metrics recorder"
    );
    let (_metrics, second) = Metrics::builder().build_prometheus().unwrap();
    assert_eq!(second.install(), Err(error));
    metrics::counter!("orders_total").increment(4);
    assert!(
        prometheus
            .render()
            .lines()
            .any(|line| line == "orders_total 6")
    );
    assert!(!second.render().contains("orders_total"));
}
