//! Settings of traces, by OpenTelemetry's own names
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

use super::sampler::{Ratio, Sampler, SamplerName};

/// Where traces go, and which.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceSettings {
    /// Collector that takes OTLP over HTTP, such as Jaeger's `http://jaeger:4318`; without one nothing is
    /// traced
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = base_url)]
    pub otlp_endpoint: Option<Url>,

    /// The same for traces alone, with its path
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL", value_parser = base_url)]
    pub otlp_traces_endpoint: Option<Url>,

    /// Headers for the collector: `name=value`, comma-separated, values percent-encoded
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        value_name = "HEADERS",
        default_value = "",
        hide_env_values = true,
        value_parser = headers
    )]
    pub otlp_headers: HeaderMap,

    /// How long the collector may take for a batch of spans, in milliseconds
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", value_name = "MS", default_value = "10000", value_parser = millis)]
    pub otlp_timeout: Duration,

    /// Which requests are traced; those that fail always are
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        value_name = "SAMPLER",
        default_value = "parentbased_always_on"
    )]
    pub traces_sampler: SamplerName,

    /// The share that a sampler by ratio takes, 0 to 1
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER_ARG",
        value_name = "SHARE",
        default_value = "1"
    )]
    pub traces_sampler_arg: Ratio,

    /// What traces name this function; without it its own name
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub service_name: Option<String>,
}

/// Where batches of spans are sent.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
}

impl TraceSettings {
    pub(crate) fn collector(&self) -> Option<Collector> {
        let of_all = || {
            let mut url = self.otlp_endpoint.clone()?;
            let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
            url.set_path(&path);
            Some(url)
        };
        let url = self.otlp_traces_endpoint.clone().or_else(of_all)?;
        Some(Collector {
            url,
            headers: self.otlp_headers.clone(),
            timeout: self.otlp_timeout,
        })
    }

    pub(crate) const fn sampler(&self) -> Sampler {
        Sampler::new(self.traces_sampler, self.traces_sampler_arg)
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let wrong = || format!("{text:?} is not an address; write http://host:4318 or https://host");
    let url: Url = text.trim().parse().map_err(|_| wrong())?;
    let is_right = matches!(url.scheme(), "http" | "https") && url.has_host();
    is_right.then_some(url).ok_or_else(wrong)
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let pairs = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    // Values are secrets: no error quotes them.
    pairs
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or("a header has no `=`; write name=value,name=value")?;
            let name: HeaderName = name
                .trim()
                .parse()
                .map_err(|_| format!("{:?} is not the name of a header", name.trim()))?;
            let value = percent_encoding::percent_decode_str(value.trim());
            let value = HeaderValue::from_bytes(&value.collect::<Vec<_>>());
            let mut value =
                value.map_err(|_| format!("the value of {name} is not one line of text"))?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

fn millis(text: &str) -> Result<Duration, String> {
    let millis = text.trim().parse().ok().filter(|millis| *millis > 0);
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a time; write milliseconds, such as 10000"))
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;

    use super::*;

    #[test]
    fn where_spans_go_is_said_as_opentelemetry_has_it() {
        let mut settings = Settings::from_environment().traces;
        assert!(settings.collector().is_none());
        let url = |settings: &TraceSettings| settings.collector().unwrap().url.to_string();
        for (text, expected) in [
            ("http://jaeger:4318", "http://jaeger:4318/v1/traces"),
            ("http://jaeger:4318/", "http://jaeger:4318/v1/traces"),
            (
                "https://a.example/otlp/",
                "https://a.example/otlp/v1/traces",
            ),
        ] {
            settings.otlp_endpoint = Some(base_url(text).unwrap());
            assert_eq!(url(&settings), expected);
        }
        settings.otlp_traces_endpoint = Some(base_url("http://b:1/spans").unwrap());
        assert_eq!(url(&settings), "http://b:1/spans");
        for bad in ["", "jaeger:4318", "ftp://jaeger", "http://"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
        let read = headers("api-key=s%3Dcret, x-b=2").unwrap();
        assert_eq!(
            (&read["api-key"], &read["x-b"]),
            (&"s=cret".parse().unwrap(), &"2".parse().unwrap())
        );
        assert!(read["api-key"].is_sensitive());
        for bad in ["secret", "a b=1", "a=%0a"] {
            let told = headers(bad).unwrap_err();
            assert!(!told.contains("secret"), "{told}");
        }
        for bad in ["0", "-1", "10s"] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }
}
