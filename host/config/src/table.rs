//! Table: a TOML table that is read key by key and collects every mistake.
//!
//! serde would stop at the first mistake; here reading goes on with what is right, so that all are reported at once.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_text::{Mistake, duration};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::values::{show_size, size};

/// Most mistakes of one file that are reported.
const MOST_MISTAKES: usize = 100;

/// The text of a file, and the mistakes found in it.
pub(crate) struct TomlSource<'a> {
    file: PathBuf,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
    /// Where its lines end, found when first needed.
    line_ends: OnceCell<Vec<usize>>,
}

impl<'a> TomlSource<'a> {
    pub(crate) fn new(file: &Path, text: &'a str) -> Self {
        Self { file: file.to_owned(), text, mistakes: RefCell::default(), line_ends: OnceCell::new() }
    }

    /// The file's TOML. If it does not parse, each wrong line is reported once, and nothing of it is used.
    pub(crate) fn parse(&self) -> Option<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut told = HashSet::new();
        for error in &errors {
            if told.len() > MOST_MISTAKES {
                break;
            }
            let line = error.span().map(|span| self.line(&span));
            if told.insert(line) {
                self.report(line, "", format!("not TOML: {}", error.message()));
            }
        }
        errors.is_empty().then(|| table.into_inner())
    }

    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes.into_inner()
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let ends = self.line_ends.get_or_init(|| self.text.match_indices('\n').map(|(at, _)| at).collect());
        1 + ends.partition_point(|end| *end < span.start)
    }

    fn report(&self, line: Option<usize>, key: &str, what: String) {
        let what = match self.mistakes.borrow().len() {
            ..MOST_MISTAKES => what,
            MOST_MISTAKES => "and more mistakes, from here on".to_owned(),
            _ => return,
        };
        let mistake = Mistake { file: self.file.clone(), line, key: key.to_owned(), what };
        self.mistakes.borrow_mut().push(mistake);
    }
}

/// One table of a file.
pub(crate) struct Table<'a> {
    source: &'a TomlSource<'a>,
    /// Where it stands in the file, such as `doors.ssh.`; empty for the file itself.
    prefix: String,
    line: usize,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

/// Where a value stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ValuePlace {
    pub(crate) line: usize,
    pub(crate) key: String,
}

impl ValuePlace {
    /// What is wrong with the value that stands here in `file`.
    pub(crate) fn mistake(&self, file: &Path, what: String) -> Mistake {
        Mistake { file: file.to_owned(), line: Some(self.line), key: self.key.clone(), what }
    }
}

/// A value and where it stands.
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: ValuePlace,
}

impl<'a> Table<'a> {
    pub(crate) fn root(source: &'a TomlSource<'a>, table: &'a DeTable<'a>) -> Self {
        Self { source, prefix: String::new(), line: 1, table, known: RefCell::default() }
    }

    /// Where the table itself stands.
    pub(crate) fn place(&self) -> ValuePlace {
        ValuePlace { line: self.line, key: self.prefix.trim_end_matches('.').to_owned() }
    }

    /// The same in words, for what is reported later.
    pub(crate) fn file_and_line(&self) -> String {
        format!("{}:{}", self.source.file.display(), self.line)
    }

    /// Where a key stands, or the table if there is no such key.
    pub(crate) fn place_of(&self, key: &'static str) -> ValuePlace {
        self.value(key).map_or_else(|| self.place(), |(_, place)| place)
    }

    /// Notes a mistake down.
    pub(crate) fn mistake(&self, place: &ValuePlace, what: impl Display) {
        self.source.report(Some(place.line), &place.key, what.to_string());
    }

    /// Whether the key is there, whatever it holds.
    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<At<&'a str>> {
        let (value, place) = self.value(key)?;
        match value {
            DeValue::String(text) => Some(At { value: text, place }),
            other => self.wrong_type(&place, other, "a text in quotes"),
        }
    }

    /// The path of a folder.
    pub(crate) fn folder(&self, key: &'static str) -> Option<At<&'a str>> {
        let at = self.text(key)?;
        if at.value.is_empty() {
            self.mistake(&at.place, "is empty; name a folder");
            return None;
        }
        Some(at)
    }

    /// One text or a list of them; at least one.
    pub(crate) fn texts(&self, key: &'static str) -> Option<Vec<At<&'a str>>> {
        self.texts_up_to(key, usize::MAX)
    }

    /// The same, at most so many: of a file that others than the administrator write.
    pub(crate) fn texts_up_to(&self, key: &'static str, most: usize) -> Option<Vec<At<&'a str>>> {
        let (value, place) = self.value(key)?;
        match value {
            DeValue::String(text) => Some(vec![At { value: text, place }]),
            DeValue::Array(items) if items.is_empty() => {
                self.mistake(&place, "is an empty list; name at least one, or leave the key out");
                None
            }
            DeValue::Array(items) if items.len() > most => {
                self.mistake(&place, format!("has {} items; at most {most}", items.len()));
                None
            }
            DeValue::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for (n, item) in items.iter().enumerate() {
                    let key = format!("{}[{n}]", place.key);
                    let place = ValuePlace { line: self.source.line(&item.span()), key };
                    match item.get_ref() {
                        DeValue::String(text) => texts.push(At { value: &**text, place }),
                        other => self.wrong_type(&place, other, "a text in quotes")?,
                    }
                }
                Some(texts)
            }
            other => self.wrong_type(&place, other, "a text in quotes or a list of them"),
        }
    }

    pub(crate) fn flag(&self, key: &'static str) -> Option<bool> {
        let (value, place) = self.value(key)?;
        match value {
            DeValue::Boolean(flag) => Some(*flag),
            other => self.wrong_type(&place, other, "true or false"),
        }
    }

    pub(crate) fn number(&self, key: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        let (value, place) = self.value(key)?;
        let DeValue::Integer(number) = value else { return self.wrong_type(&place, value, "a whole number") };
        let parsed = i128::from_str_radix(&number.as_str().replace('_', ""), number.radix());
        match parsed.ok().and_then(|number| usize::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let (least, most) = range.into_inner();
                self.mistake(&place, format!("{} is out of range; use {least} to {most}", number.as_str()));
                None
            }
        }
    }

    /// A share such as `25%`, of 1 to 100 hundredths.
    pub(crate) fn percent(&self, key: &'static str) -> Option<u32> {
        let At { value: text, place } = self.text_or_number(key)?;
        let hundredths = text.trim().strip_suffix('%').and_then(|number| number.trim().parse().ok());
        let hundredths = hundredths.filter(|hundredths| (1..=100).contains(hundredths));
        if hundredths.is_none() {
            self.mistake(&place, format!("`{text}` is not a share; write \"1%\" to \"100%\""));
        }
        hundredths
    }

    pub(crate) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<At<Duration>> {
        let At { value: text, place } = self.text_or_number(key)?;
        match duration::parse_within(text, range) {
            Ok(value) => Some(At { value, place }),
            Err(mistake) => {
                self.mistake(&place, mistake);
                None
            }
        }
    }

    pub(crate) fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<At<u64>> {
        let At { value: text, place } = self.text_or_number(key)?;
        match size(text) {
            Ok(value) if range.contains(&value) => return Some(At { value, place }),
            Ok(value) => {
                let (least, most) = (show_size(*range.start()), show_size(*range.end()));
                self.mistake(&place, format!("{} is out of range; use {least} to {most}", show_size(value)));
            }
            Err(what) => self.mistake(&place, what),
        }
        None
    }

    /// A text, or a number as it is written, for values with a unit: what a number lacks is that, and not only the quotes.
    fn text_or_number(&self, key: &'static str) -> Option<At<&'a str>> {
        match self.value(key)? {
            (DeValue::Integer(number), place) => Some(At { value: number.as_str(), place }),
            (DeValue::Float(number), place) => Some(At { value: number.as_str(), place }),
            _ => self.text(key),
        }
    }

    /// The table of this name, or an empty one if there is none.
    pub(crate) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let (value, place) = self.value(key)?;
        match value {
            DeValue::Table(table) => Some(self.inner(place, table)),
            other => self.wrong_type(&place, other, &format!("a table: [{}]", place.key)),
        }
    }

    /// The tables in the table of this name, by name.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<(&'a str, Table<'a>)> {
        let Some(outer) = self.table(key) else { return Vec::new() };
        let mut tables = Vec::new();
        for (name, value) in outer.table {
            let key = format!("{}{}", outer.prefix, name.get_ref());
            let place = ValuePlace { line: self.source.line(&name.span()), key };
            match value.get_ref() {
                DeValue::Table(table) => tables.push((&**name.get_ref(), self.inner(place, table))),
                other => drop(self.wrong_type::<()>(&place, other, &format!("a table: [{}]", place.key))),
            }
        }
        tables
    }

    /// The tables of a list, such as those that `[[hooks]]` begins.
    pub(crate) fn list_of_tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let Some((value, place)) = self.value(key) else { return Vec::new() };
        let expected = format!("a table: [[{}]]", place.key);
        let DeValue::Array(items) = value else {
            let _ = self.wrong_type::<()>(&place, value, &expected);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let key = format!("{}[{n}]", place.key);
            let place = ValuePlace { line: self.source.line(&item.span()), key };
            match item.get_ref() {
                DeValue::Table(table) => tables.push(self.inner(place, table)),
                other => drop(self.wrong_type::<()>(&place, other, &expected)),
            }
        }
        tables
    }

    /// Whether the table of this name is one and has something of the name `inner`.
    pub(crate) fn has_within(&self, key: &'static str, inner: &str) -> bool {
        matches!(self.value(key), Some((DeValue::Table(table), _)) if table.contains_key(inner))
    }

    /// Where everything in it stands: keys, items of lists, and what is in tables within.
    pub(crate) fn places(&self) -> Vec<ValuePlace> {
        let mut places = Vec::new();
        for (name, value) in self.table {
            let place = ValuePlace {
                line: self.source.line(&name.span()),
                key: format!("{}{}", self.prefix, name.get_ref()),
            };
            self.add_places(value.get_ref(), place, &mut places);
        }
        places
    }

    /// The same of one value, which stands at `place`.
    fn add_places(&self, value: &'a DeValue<'a>, place: ValuePlace, places: &mut Vec<ValuePlace>) {
        match value {
            DeValue::Table(table) => places.extend(self.inner(place.clone(), table).places()),
            DeValue::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    let key = format!("{}[{n}]", place.key);
                    let line = self.source.line(&item.span());
                    self.add_places(item.get_ref(), ValuePlace { line, key }, places);
                }
            }
            _ => {}
        }
        places.push(place);
    }

    /// The table as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        json_table(self.table)
    }

    /// Reports the keys that were not read.
    pub(crate) fn finish(self) {
        let known = self.known.borrow();
        for name in self.table.keys() {
            if !known.iter().any(|known| known == name.get_ref()) {
                let place = ValuePlace {
                    line: self.source.line(&name.span()),
                    key: format!("{}{}", self.prefix, name.get_ref()),
                };
                self.mistake(&place, format!("no such key; there are {}", known.join(", ")));
            }
        }
    }

    fn value(&self, key: &'static str) -> Option<(&'a DeValue<'a>, ValuePlace)> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        let place = ValuePlace { line: self.source.line(&name.span()), key: format!("{}{key}", self.prefix) };
        Some((value.get_ref(), place))
    }

    fn inner(&self, place: ValuePlace, table: &'a DeTable<'a>) -> Table<'a> {
        let prefix = format!("{}.", place.key);
        Table { source: self.source, prefix, line: place.line, table, known: RefCell::default() }
    }

    fn wrong_type<T>(&self, place: &ValuePlace, value: &DeValue<'_>, expected: &str) -> Option<T> {
        let found = match value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.mistake(place, format!("is {found}; write {expected}"));
        None
    }
}

fn json_table(table: &DeTable<'_>) -> serde_json::Value {
    let pairs =
        table.iter().map(|(name, value)| (name.get_ref().to_string(), json_value(value))).collect::<Vec<_>>();
    serde_json::Value::Object(pairs.into_iter().collect())
}

fn json_value(value: &Spanned<DeValue<'_>>) -> serde_json::Value {
    match value.get_ref() {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix());
            // A number beyond 64 bits is handed on as text rather than rounded.
            parsed.map_or_else(|_| number.as_str().into(), serde_json::Value::from)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().replace('_', "").parse::<f64>().ok();
            parsed.and_then(serde_json::Number::from_f64).map_or(serde_json::Value::Null, Into::into)
        }
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => items.iter().map(json_value).collect(),
        DeValue::Table(table) => json_table(table),
    }
}
