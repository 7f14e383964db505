use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::Ops;

fn variable(setting: &table::Setting) -> String {
    format!("{PREFIX}{}", setting.name.to_ascii_uppercase())
}

/// The table for rustdoc and for the guide.
fn table() -> String {
    let mut table = String::from(
        "| in a file | in the environment | value | default | what it sets |\n|---|---|---|---|---|\n",
    );
    for setting in TABLE {
        let default = setting.default;
        let default = match default
            .strip_prefix('(')
            .and_then(|it| it.strip_suffix(')'))
        {
            Some(words) => words.to_owned(),
            None => format!("`{default}`"),
        };
        let (name, about) = (setting.name, setting.about);
        let variable = variable(setting);
        let values = setting.kind.expected().replace('"', "`");
        writeln!(
            table,
            "| `{name}` | `{variable}` | {values} | {default} | {about} |"
        )
        .unwrap();
    }
    table
}

fn guide() -> String {
    let mut guide = String::from(
        "# Settings\n\n\
         Generated from `crates/tower-ops/src/settings/table.rs` by its test, with `UPDATE_TABLE=1`.\n\n\
         What an operator can change without a new build, once the application applies it:\n\n\
         ```rust\n\
         let ops = Ops::builder(\"orders\").settings(Settings::from_env()?);\n\
         ```\n\n\
         With the feature `serde`, `Settings` is also a part of what an application reads from its own\n\
         file. For an environment that wins over the file: `Settings::from_env()?.or(file)`. Code after\n\
         `settings(..)` wins over both, and code before it has the defaults.\n\n",
    );
    guide.push_str(&table());
    guide.push_str(
        "\nA switch may also be `true`, `1`, `false` or `0`. A variable that is empty is not set.\n\n\
         A name that begins with `TOWER_OPS_` and is not in the table is an error, and so is a value of\n\
         another kind. All of them are reported at once, before anything is started.\n\n\
         ## Variables that others read\n\n\
         | variable | what it is |\n|---|---|\n",
    );
    for (name, about) in OTHERS {
        writeln!(guide, "| `{PREFIX}{name}` | {about} |").unwrap();
    }
    guide.push_str(
        "| `TOWER_OPS_TEST_*` | left to tests |\n\
         | `RUST_LOG` | the filter of the log (tower-ops-logs), until `/loglevel` changes it |\n\
         | `LOG_FORMAT` | the format of the log (tower-ops-logs): `text`, `json`, `ecs`, `gcp` |\n\
         | `OTEL_*` | OpenTelemetry: see `ENVIRONMENT.md` of tower-ops-otel |\n\n\
         `OTEL_TRACES_SAMPLER` and `trace_sample_ratio` set the same: of `telemetry(..)` and\n\
         `settings(..)`, the later call counts.\n\n\
         Kubernetes makes variables such as `TOWER_OPS_DEMO_SERVICE_HOST` for a service whose name\n\
         begins with `tower-ops`. They are left alone.\n",
    );
    guide
}

#[test]
fn the_documentation_is_made_from_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, text) in [
        (root.join("src/settings/table.md"), table()),
        (root.join("../../docs/settings.md"), guide()),
    ] {
        if std::env::var_os("UPDATE_TABLE").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let known = std::fs::read_to_string(&file).unwrap();
        assert!(known == text, "UPDATE_TABLE=1 writes {file:?} anew");
    }
}

/// A builder shows all that it was given.
fn shown(ops: &OpsBuilder) -> String {
    format!("{ops:#?}")
}

/// The process of a service is a new one each time.
fn builder_with(settings: Settings) -> String {
    shown(&Ops::builder("orders").settings(settings))
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_builder() {
    for setting in TABLE.iter().filter(|it| !it.default.starts_with('(')) {
        let settings = Settings::from_vars([(variable(setting), setting.default)]).unwrap();
        assert_eq!(
            builder_with(settings).replace("[::]:8080", ""),
            builder_with(Settings::default()).replace("[::]:8080", ""),
            "{}",
            setting.name
        );
    }
}

/// For each setting a value that is not its default.
const CHANGED: [(&str, &str); TABLE.len()] = [
    ("ops_addr", "127.0.0.1:9999"),
    ("operations_token_file", "/etc/orders/token"),
    ("pre_drain", "1s"),
    ("drain_timeout", "1m 30s"),
    ("abort_timeout", "1500ms"),
    ("hooks_timeout", "10s"),
    ("margin", "0s"),
    ("grace_period", "2min"),
    ("max_connections", "off"),
    ("first_byte_timeout", "off"),
    ("header_timeout", "7s"),
    ("idle_timeout", "2h"),
    ("stall_timeout", "20s"),
    ("max_history", "50"),
    ("max_series", "50000"),
    ("trusted_proxies", "10.0.0.0/8"),
    ("trace", "off"),
    ("trace_sample_ratio", "0.5"),
    ("trace_public_endpoint", "on"),
    ("access_log", "0.25"),
];

#[test]
fn every_setting_changes_the_builder_and_no_other_setting_changes_the_same() {
    let mut seen = vec![builder_with(Settings::default())];
    for (setting, (name, value)) in TABLE.iter().zip(CHANGED) {
        assert_eq!(setting.name, name, "in the order of the table");
        let settings = Settings::from_vars([(variable(setting), value)]).unwrap();
        let built = builder_with(settings);
        assert!(!seen.contains(&built), "{name}");
        seen.push(built);
    }
}

#[test]
fn code_after_a_setting_wins_and_code_before_it_loses() {
    let all = CHANGED.map(|(name, value)| (format!("{PREFIX}{}", name.to_uppercase()), value));
    let all = Settings::from_vars(all).unwrap();
    let defaults = TABLE.iter().filter(|it| !it.default.starts_with('('));
    let defaults = Settings::from_vars(defaults.map(|it| (variable(it), it.default))).unwrap();
    // What settings call is what code calls.
    let last = shown(
        &Ops::builder("orders")
            .settings(all.clone())
            .settings(defaults),
    );
    let only_lists = all
        .set
        .iter()
        .filter(|(row, _)| TABLE[*row].default.starts_with('('));
    let only_lists = Settings {
        set: only_lists.cloned().collect(),
    };
    assert_eq!(
        last,
        shown(
            &Ops::builder("orders")
                .settings(only_lists)
                .ops_addr("[::]:8080")
        )
    );
}

#[test]
fn a_bad_value_of_every_setting_is_reported_with_all_others() {
    let bad = TABLE.iter().map(|it| match it.name {
        "operations_token_file" => (variable(it), " "),
        _ => (variable(it), "nonsense"),
    });
    let error = Settings::from_vars(bad).unwrap_err();
    assert_eq!(error.problems().len(), TABLE.len());
    for setting in TABLE {
        let name = format!("{}: ", variable(setting));
        let found = error.problems().iter().find(|it| it.starts_with(&name));
        assert!(found.unwrap().contains(" is not "), "{found:?}");
    }
}

#[test]
fn no_setting_has_a_name_of_somebody_else() {
    for setting in TABLE {
        let name = setting.name.to_ascii_uppercase();
        assert!(!is_of_others(&name, &["", "DEMO"]), "{name}");
    }
}
