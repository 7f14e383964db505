use super::*;

fn read(variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let values = variables
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let choices = Choices {
        metrics: true,
        logs: true,
        console: false,
    };
    Settings::read(&values.collect(), &choices)
}

#[track_caller]
fn only_warning(variables: &[(&str, &str)]) -> String {
    let (_, warnings) = read(variables);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    warnings.into_iter().next().unwrap()
}

#[test]
fn the_table_has_what_is_read_and_nothing_else() {
    let values = BTreeMap::new();
    let mut reader = Reader::new(&values);
    Settings::read_from(&mut reader, &Choices::default());
    let read: Vec<_> = reader.names_read().iter().cloned().collect();
    let honoured = ENVIRONMENT.iter().filter(|variable| variable.honoured);
    let mut names: Vec<_> = honoured.flat_map(|variable| variable.names()).collect();
    names.sort();
    assert_eq!(names, read);
}

/// `BLESS=1 cargo test -p tower-ops-otel` writes it anew.
#[test]
fn the_documentation_is_made_from_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ENVIRONMENT.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), markdown());
}

#[test]
fn what_is_empty_is_unset() {
    let names: Vec<_> = ENVIRONMENT
        .iter()
        .flat_map(|variable| variable.names())
        .collect();
    let variables: Vec<_> = names.iter().map(|name| (name.as_str(), " ")).collect();
    let (settings, warnings) = read(&variables);
    assert_eq!(warnings, Vec::<String>::new());
    let (unset, _) = read(&[]);
    assert_eq!(format!("{settings:?}"), format!("{unset:?}"));
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    let (settings, _) = read(&[]);
    assert!(!settings.disabled);
    assert_eq!(settings.formats, [Format::TraceContext, Format::Baggage]);
    assert!(settings.sampling.parent_based);
    assert_eq!(settings.sampling.ratio, Ratio::ALL);
    let BatchSettings {
        queue,
        batch,
        delay,
        timeout,
    } = settings.span_batch;
    assert_eq!((queue, batch), (2_048, 512));
    assert_eq!((delay.as_secs(), timeout.as_secs()), (5, 30));
    assert_eq!(settings.log_batch.delay.as_secs(), 1);
    // But for this one: nothing goes to where nobody said.
    assert!(!settings.traces.is_some());
}

#[test]
fn a_bad_value_is_named_and_ignored() {
    for (name, value, wanted) in [
        ("OTEL_SDK_DISABLED", "1", "one of true, false"),
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "0",
            "a whole number of 1 or more",
        ),
        (
            "OTEL_BSP_SCHEDULE_DELAY",
            "5s",
            "a number of milliseconds from 1 to a day",
        ),
        ("OTEL_TRACES_SAMPLER", "xray", "parentbased_traceidratio"),
        (
            "OTEL_PROPAGATORS",
            "jaeger",
            "one of tracecontext, baggage, b3, b3multi, none",
        ),
        (
            "OTEL_TRACES_EXPORTER",
            "zipkin",
            "one of otlp, console, none",
        ),
        ("OTEL_LOG_LEVEL", "loud", "one of none, error"),
    ] {
        let warning = only_warning(&[(name, value)]);
        assert!(
            warning.starts_with(&format!("{name} is {value:?}, which is not ")),
            "{warning}"
        );
        assert!(warning.contains(wanted), "{warning}");
        assert!(warning.ends_with("it is ignored"), "{warning}");
    }
    let all = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
    ];
    only_warning(&all);
}

#[test]
fn what_is_not_honoured_is_named() {
    let warning = only_warning(&[("OTEL_EXPERIMENTAL_CONFIG_FILE", "otel.yaml")]);
    assert!(
        warning.starts_with("OTEL_EXPERIMENTAL_CONFIG_FILE is not honoured: "),
        "{warning}"
    );
    let warning = only_warning(&[
        ("OTEL_SERVICENAME", "a"),
        ("OTEL_X", "b"),
        ("OTEL_POD_IP", "c"),
    ]);
    assert_eq!(warning, "not known, and not read: OTEL_SERVICENAME, OTEL_X");
}

#[test]
fn lists_are_taken_in_part_and_once() {
    let (settings, warnings) = read(&[("OTEL_PROPAGATORS", "b3, B3,xray,tracecontext")]);
    assert_eq!(settings.formats, [Format::B3, Format::TraceContext]);
    assert_eq!(warnings.len(), 1);
    let (settings, _) = read(&[("OTEL_PROPAGATORS", "none")]);
    assert_eq!(settings.formats, []);
}

#[test]
fn the_sampler_is_one_of_six() {
    let sampling = |kind, ratio| {
        let variables = [
            ("OTEL_TRACES_SAMPLER", kind),
            ("OTEL_TRACES_SAMPLER_ARG", ratio),
        ];
        let (settings, warnings) = read(&variables);
        (
            settings.sampling.parent_based,
            settings.sampling.ratio,
            warnings.len(),
        )
    };
    assert_eq!(sampling("always_on", ""), (false, Ratio::ALL, 0));
    assert_eq!(
        sampling("parentbased_always_off", ""),
        (true, Ratio::NONE, 0)
    );
    let tenth = Ratio::new(0.1).unwrap();
    assert_eq!(
        sampling("parentbased_traceidratio", "0.1"),
        (true, tenth, 0)
    );
    assert_eq!(sampling("traceidratio", "2"), (false, Ratio::ALL, 1));
    // Without a sampler the ratio would be for nothing, unnoticed.
    assert_eq!(sampling("", "0.1"), (true, Ratio::ALL, 1));
}

#[test]
fn where_each_signal_goes() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/");
    let (settings, _) = read(&[endpoint, ("OTEL_LOGS_EXPORTER", "none")]);
    let uri = |destination: &Destination| destination.otlp.as_ref().unwrap().endpoint.to_string();
    assert_eq!(
        uri(&settings.traces),
        "http://collector:4318/base/v1/traces"
    );
    assert_eq!(
        uri(&settings.metrics),
        "http://collector:4318/base/v1/metrics"
    );
    assert!(!settings.logs.is_some());

    let (settings, _) = read(&[endpoint, ("OTEL_METRICS_EXPORTER", "prometheus")]);
    assert!(!settings.metrics.is_some());

    // Chosen by name, it goes to where the specification says.
    let (settings, _) = read(&[("OTEL_TRACES_EXPORTER", "otlp,console")]);
    assert_eq!(uri(&settings.traces), "http://localhost:4318/v1/traces");
    assert!(settings.traces.console);

    let own = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://traces/as/it/is",
    );
    let (settings, _) = read(&[endpoint, own]);
    assert_eq!(uri(&settings.traces), "http://traces/as/it/is");
}

#[test]
fn an_endpoint_of_grpc_may_lack_its_scheme() {
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let endpoint = |value, insecure| {
        let (settings, warnings) = read(&[
            grpc,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", value),
            ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
        ]);
        assert_eq!(warnings, Vec::<String>::new());
        settings.traces.otlp.unwrap().endpoint.to_string()
    };
    assert_eq!(endpoint("collector:4317", ""), "https://collector:4317/");
    assert_eq!(endpoint("collector:4317", "true"), "http://collector:4317/");
    assert_eq!(endpoint("http://collector/path", ""), "http://collector/");
}

#[test]
fn an_endpoint_that_cannot_be_meant_exports_nothing() {
    for value in [
        "collector:4318",
        "ftp://collector",
        "http://",
        "unix:///tmp/otel",
        "http://a b",
    ] {
        let (settings, warnings) = read(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere"),
        ]);
        assert!(!settings.traces.is_some(), "{value}");
        assert_eq!(warnings.len(), 1, "{value} {warnings:?}");
    }
    let port = only_warning(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")]);
    assert!(port.contains("OTEL_EXPORTER_OTLP_PROTOCOL"), "{port}");
}

#[test]
fn secrets_are_in_no_warning() {
    let (settings, warnings) = read(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "api-key=s3cret,s3cret,bad name=s3cret,a=s3cret%0A",
        ),
    ]);
    let headers = settings.traces.otlp.unwrap().headers;
    assert_eq!(headers.len(), 1);
    assert_eq!(headers["api-key"], "s3cret");
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        warnings.iter().all(|warning| !warning.contains("s3cret")),
        "{warnings:?}"
    );
    assert!(!format!("{headers:?}").contains("s3cret"));
}

#[test]
fn limits_of_a_signal_win_over_those_of_all() {
    let (settings, _) = read(&[
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "5"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "7"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "9"),
        ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "11"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
    ]);
    assert_eq!(settings.span_limits.max_attributes_per_span, 7);
    let limits = settings.value_limits;
    assert_eq!(
        (limits.span_length, limits.log_length, limits.log_count),
        (Some(9), Some(11), Some(5))
    );
    assert_eq!(settings.span_batch.batch, 100);
}
