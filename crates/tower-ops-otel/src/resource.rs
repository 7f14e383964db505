use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use crate::settings::Settings;

/// The description of the service by the builder.
#[derive(Debug)]
pub(crate) struct Described {
    service: String,
    version: String,
    pub(crate) environment: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Described {
    pub(crate) const fn new(service: String, version: String) -> Self {
        Self {
            service,
            version,
            environment: None,
            instance: None,
            attributes: Vec::new(),
        }
    }

    /// What comes later wins.
    pub(crate) fn resource(self, settings: &Settings) -> Resource {
        let mut attributes = vec![
            (
                "service.instance.id".to_owned(),
                self.instance.unwrap_or_else(random_instance),
            ),
            ("service.name".to_owned(), self.service),
        ];
        if !self.version.is_empty() {
            attributes.push(("service.version".to_owned(), self.version));
        }
        if let Some(environment) = self.environment {
            attributes.push(("deployment.environment.name".to_owned(), environment));
        }
        attributes.extend(self.attributes);
        attributes.extend(settings.attributes.iter().cloned());
        if let Some(service) = &settings.service {
            attributes.push(("service.name".to_owned(), service.clone()));
        }
        let attributes = attributes.into_iter();
        // Those of the SDK itself; all others read the environment, which is read already.
        Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(attributes.map(|(key, value)| KeyValue::new(key, value)))
            .build()
    }
}

/// A random UUID of version 4.
fn random_instance() -> String {
    let random = u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes());
    let version = (random & !(0xf << 76)) | (4 << 76);
    let hex = format!("{:032x}", (version & !(0b11 << 62)) | (0b10 << 62));
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}
