//! A program with a log, and nothing else.
//!
//! ```sh
//! cargo run -p tower-ops-logs --example log_lines
//! LOG_FORMAT=json RUST_LOG=debug cargo run -p tower-ops-logs --example log_lines 2>/dev/null
//! ```

fn main() {
    let _guard = tower_ops_logs::init();
    eprintln!("what is for a person goes to standard error");
    let span = tracing::info_span!("order", order = 7).entered();
    tracing::info!(items = 3, "an order came in");
    tracing::debug!("only with RUST_LOG=debug");
    drop(span);
    let lines = std::env::args().nth(1).and_then(|lines| lines.parse().ok());
    for number in 0..lines.unwrap_or(0_u32) {
        tracing::info!(number, "one of many");
    }
    tracing::warn!("that was all");
}
