//! Reads what a daemon hands out as metrics, and panics at whatever is not as the format `OpenMetrics` has it.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The families in their order, with the type of each.
    pub families: Vec<(String, String)>,
    samples: BTreeMap<Series, f64>,
}

/// The name and the labels of a value.
type Series = (String, BTreeMap<String, String>);

impl Metrics {
    /// The value of a series with exactly these labels.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// All labels and values of a name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = (&BTreeMap<String, String>, f64)> {
        let name = name.to_owned();
        self.samples
            .iter()
            .filter(move |((other, _), _)| *other == name)
            .map(|((_, labels), value)| (labels, *value))
    }

    /// Every label of every series.
    pub fn labels(&self) -> impl Iterator<Item = (&String, &String)> {
        self.samples.keys().flat_map(|(_, labels)| labels)
    }

    /// Reads a page.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    #[track_caller]
    pub fn read(page: &str) -> Self {
        let body =
            page.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("it does not end with # EOF: {page}"));
        let mut metrics = Self::default();
        let mut described = BTreeSet::new();
        for line in body.lines() {
            match line.strip_prefix("# ") {
                Some(text) => metrics.describe(line, text, &mut described),
                None => metrics.sample(line),
            }
        }
        metrics.check_histograms();
        metrics
    }

    #[track_caller]
    fn describe(&mut self, line: &str, text: &str, described: &mut BTreeSet<(String, String)>) {
        let mut parts = text.splitn(3, ' ');
        let [Some(what), Some(name), Some(said)] = [parts.next(), parts.next(), parts.next()] else {
            panic!("{line}");
        };
        assert!(is_name(name) && !said.is_empty(), "{line}");
        assert!(described.insert((what.to_owned(), name.to_owned())), "twice: {line}");
        match what {
            // What does not belong to the family before begins another, and no family comes twice.
            "HELP" => assert!(said.ends_with('.'), "{line}"),
            "TYPE" => self.families.push((name.to_owned(), said.to_owned())),
            "UNIT" => {
                let family = self.families.last().map(|(name, _)| name.as_str());
                assert!(family == Some(name) && name.ends_with(&format!("_{said}")), "{line}");
            }
            _ => panic!("{line}"),
        }
    }

    #[track_caller]
    fn sample(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = match series.split_once('{') {
            None => (series, BTreeMap::new()),
            Some((name, labels)) => {
                let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
                (name, read_labels(labels, line))
            }
        };
        let (family, kind) = self.families.last().unwrap_or_else(|| panic!("no family: {line}"));
        let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("not of {family}: {line}"));
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_sum", "_count", "_bucket"],
            _ => panic!("{kind} is no type"),
        };
        assert!(suffixes.contains(&suffix) && is_name(name), "{line}");
        let value: f64 = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
        assert!(self.samples.insert((name.to_owned(), labels), value).is_none(), "twice: {line}");
    }

    /// Buckets are cumulative, and the last has all.
    #[track_caller]
    fn check_histograms(&self) {
        for (family, _) in self.families.iter().filter(|(_, kind)| kind == "histogram") {
            for (labels, count) in self.all(&format!("{family}_count")) {
                let mut buckets: Vec<(f64, f64)> = self
                    .all(&format!("{family}_bucket"))
                    .filter_map(|(of, value)| {
                        let mut of = of.clone();
                        let bound = of.remove("le").expect("a bucket has a bound");
                        let bound =
                            if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") };
                        (of == *labels).then_some((bound, value))
                    })
                    .collect();
                buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
                assert!(buckets.is_sorted_by_key(|(_, value)| *value), "{family} {labels:?}: {buckets:?}");
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{family} {labels:?}");
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// What stands between braces.
#[track_caller]
fn read_labels(text: &str, line: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(name), "{line}");
        let (mut value, mut characters) = (String::new(), behind.chars());
        loop {
            match characters.next() {
                Some('"') => break,
                Some('\\') => value.push(match characters.next() {
                    Some('n') => '\n',
                    Some(c @ ('\\' | '"')) => c,
                    other => panic!("{other:?} behind a backslash: {line}"),
                }),
                Some(c) => value.push(c),
                None => panic!("no end: {line}"),
            }
        }
        assert!(labels.insert(name.to_owned(), value).is_none(), "twice: {line}");
        rest = characters.as_str();
        rest = match rest.strip_prefix(',') {
            Some(more) => {
                assert!(!more.is_empty(), "{line}");
                more
            }
            None => {
                assert!(rest.is_empty(), "{line}");
                rest
            }
        };
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_form_is_read() {
        let page = "# HELP a A.\n# TYPE a counter\na_total{x=\"1,}\\\"\\\\\",y=\"\"} 2\na_total 3\n\
                    # HELP b_seconds B.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\n\
                    b_seconds_sum 1.5\nb_seconds_count 2\nb_seconds_bucket{le=\"0.1\"} 1\nb_seconds_bucket{le=\"+Inf\"} 2\n# EOF\n";
        let metrics = Metrics::read(page);
        assert_eq!(metrics.value("a_total", &[("y", ""), ("x", "1,}\"\\")]), Some(2.0));
        assert_eq!(metrics.value("a_total", &[]), Some(3.0));
        assert_eq!(metrics.value("a_total", &[("x", "1")]), None);
        assert_eq!(metrics.families.len(), 2);
    }

    #[test]
    fn what_has_not_is_none() {
        let head = "# HELP a A.\n# TYPE a counter\n";
        for wrong in [
            "a_total 1\n".to_owned(),
            format!("{head}a 1\n# EOF\n"),
            format!("{head}b_total 1\n# EOF\n"),
            format!("{head}a_total -1\n# EOF\n"),
            format!("{head}a_total x\n# EOF\n"),
            format!("{head}a_total 1\na_total 2\n# EOF\n"),
            format!("{head}a_total{{x=\"1\" 1\n# EOF\n"),
            format!("{head}a_total{{x=1}} 1\n# EOF\n"),
            format!("{head}{head}# EOF\n"),
            format!("{head}a_total 1\n# EOF\n# EOF\n"),
            "# HELP h H.\n# TYPE h histogram\nh_sum 1\nh_count 2\nh_bucket{le=\"+Inf\"} 1\n# EOF\n"
                .to_owned(),
        ] {
            assert!(std::panic::catch_unwind(|| Metrics::read(&wrong)).is_err(), "{wrong}");
        }
    }
}
