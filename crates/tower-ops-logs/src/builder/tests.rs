use super::*;
use crate::format::{CONSTANTS, Style};

fn environment(filter: &str, format: &str) -> Environment {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Environment {
        filter: some(filter),
        format: some(format),
        ..Environment::default()
    }
}

fn builder() -> LogsBuilder {
    LogsBuilder::new().writer(io::sink())
}

#[test]
fn the_environment_has_the_last_word() {
    let build = |builder: LogsBuilder, filter, format| {
        let logs = builder.build_in(environment(filter, format)).unwrap();
        (logs.style(), logs.filter())
    };
    let plain = |filter: &str| (Style::Text, filter.to_owned());
    assert_eq!(build(builder(), "", ""), plain("info"));
    assert_eq!(
        build(builder(), "debug", "JSON"),
        (Style::Json, "debug".to_owned())
    );
    let set = || builder().format(Format::Ecs).filter("warn,a=debug");
    assert_eq!(
        build(set(), "", ""),
        (Style::Ecs, "warn,a=debug".to_owned())
    );
    assert_eq!(build(set(), "b=info", "text"), plain("warn,a=debug,b=info"));
    assert_eq!(
        build(set(), "off,orders", "text"),
        plain("off,orders=trace")
    );
    assert_eq!(
        build(builder().filter("a=debug"), "", ""),
        plain("info,a=debug")
    );
}

#[test]
fn all_problems_are_named_at_once() {
    let error = builder()
        .filter("loud=very")
        .field("level", 1)
        .field("", 1)
        .field("much", "x".repeat(CONSTANTS))
        .gcp_project("a b")
        .queue(1)
        .drop_at(Level::INFO, 101)
        .ring(1)
        .build_in(environment("[x]", "xml"))
        .unwrap_err();
    let names: Vec<_> = error
        .problems()
        .iter()
        .map(|problem| problem.split(':').next().unwrap())
        .collect();
    let expected = [
        "LOG_FORMAT",
        "filter",
        "RUST_LOG",
        "field",
        "field",
        "field",
        "gcp_project",
        "queue",
        "drop_at",
        "ring",
    ];
    assert_eq!(names, expected, "{error}");
    assert!(
        error
            .to_string()
            .starts_with("the configuration of the log is invalid:")
    );
}

#[test]
fn colours_are_only_for_who_can_see_them() {
    let style = |builder: LogsBuilder| builder.build_in(Environment::default()).unwrap().style();
    assert_eq!(style(builder()), Style::Text);
    assert_eq!(style(builder().color(true)), Style::Color);
    assert_eq!(
        style(builder().color(true).format(Format::Json)),
        Style::Json
    );
}
