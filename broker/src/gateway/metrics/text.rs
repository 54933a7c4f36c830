//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use trunkline_contract::rpc::metrics::{MetricFamily, MetricKind, MetricSample};

/// Media type of the text.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families; those without samples are left out.
pub(super) fn text(families: &[MetricFamily]) -> String {
    let mut out = String::with_capacity(64 << 10);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        write_family(&mut out, family).expect("a String takes every write");
    }
    out
}

fn write_family(out: &mut String, family: &MetricFamily) -> std::fmt::Result {
    let name = &family.name;
    let kind = match family.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    let help = family.help.replace('\\', r"\\").replace('\n', r"\n");
    writeln!(out, "# HELP {name} {help}")?;
    writeln!(out, "# TYPE {name} {kind}")?;
    for sample in &family.samples {
        match (&sample.histogram, sample.value) {
            (Some(_), _) => write_histogram(out, name, sample)?,
            (None, Some(value)) => {
                out.write_str(name)?;
                write_labels(out, sample, None)?;
                writeln!(out, " {value}")?;
            }
            (None, None) => {}
        }
    }
    Ok(())
}

fn write_histogram(out: &mut String, name: &str, sample: &MetricSample) -> std::fmt::Result {
    let Some(histogram) = &sample.histogram else {
        return Ok(());
    };
    let mut total = 0u64;
    let bounds = histogram.bounds.iter().map(|bound| rounded(*bound));
    let bounds = bounds.chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(&histogram.counts) {
        total += count;
        write!(out, "{name}_bucket")?;
        write_labels(out, sample, Some(&bound))?;
        writeln!(out, " {total}")?;
    }
    write!(out, "{name}_sum")?;
    write_labels(out, sample, None)?;
    writeln!(out, " {}", histogram.sum)?;
    write!(out, "{name}_count")?;
    write_labels(out, sample, None)?;
    writeln!(out, " {total}")
}

/// A bound that was scaled has digits that nobody meant: 0.1 and not 0.10000000000000001.
fn rounded(bound: f64) -> String {
    let text = format!("{bound:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn write_labels(out: &mut String, sample: &MetricSample, bound: Option<&str>) -> std::fmt::Result {
    let labels = sample.labels.iter();
    let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
    let mut separator = '{';
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        let value = value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', r"\n");
        write!(out, "{separator}{name}=\"{value}\"")?;
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use trunkline_contract::rpc::metrics::MetricHistogram;

    use super::*;

    #[test]
    fn families_are_written_as_the_format_wants_them() {
        let labels = |value: &str| [("plugin".to_owned(), value.to_owned())].into();
        let families = [
            MetricFamily {
                name: "a_total".into(),
                kind: MetricKind::Counter,
                help: "What \\ is\ncounted.".into(),
                samples: vec![
                    MetricSample {
                        labels: labels("a\"b\\c\n"),
                        value: Some(3.0),
                        histogram: None,
                    },
                    MetricSample {
                        value: Some(0.25),
                        ..MetricSample::default()
                    },
                ],
            },
            MetricFamily {
                name: "b_seconds".into(),
                kind: MetricKind::Histogram,
                help: "How long.".into(),
                samples: vec![MetricSample {
                    labels: labels("x"),
                    value: None,
                    histogram: Some(MetricHistogram {
                        bounds: vec![0.001, 0.1 + 0.2, 3600.0],
                        counts: vec![1, 2, 0, 4],
                        sum: 1.5,
                    }),
                }],
            },
            MetricFamily {
                name: "c".into(),
                kind: MetricKind::Gauge,
                help: "Nothing.".into(),
                samples: vec![],
            },
        ];
        expect![[r#"
            # HELP a_total What \\ is\ncounted.
            # TYPE a_total counter
            a_total{plugin="a\"b\\c\n"} 3
            a_total 0.25
            # HELP b_seconds How long.
            # TYPE b_seconds histogram
            b_seconds_bucket{plugin="x",le="0.001"} 1
            b_seconds_bucket{plugin="x",le="0.3"} 3
            b_seconds_bucket{plugin="x",le="3600"} 3
            b_seconds_bucket{plugin="x",le="+Inf"} 7
            b_seconds_sum{plugin="x"} 1.5
            b_seconds_count{plugin="x"} 7
        "#]]
        .assert_eq(&text(&families));
    }
}
