//! Reads a tree of TOML tables key by key: a mistake is noted with its place and reading goes on.
//!
//! What is read through a [`Reader`] is at the same time the list of what may be written: every key asked for is
//! known, every other key in the file is an error. So there is no second list that could differ.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::diagnostic::Severity;
use super::leaf::{Leaf, nearest_number, write_instead};
use super::schema::{Context, Heading, Unknown};
use super::values::Mistake;
use super::words::Words;

/// A value with its place; none where what the file says is wrong, which has been noted already.
pub(super) type Field<T> = Option<Spanned<T>>;

/// What the file says under one key.
#[derive(Debug)]
pub(super) enum Given<T> {
    /// Nothing. The place is the table's heading.
    Absent(Range<usize>),
    /// Something wrong, which has been noted.
    Wrong,
    /// This.
    Value(Spanned<T>),
}

impl<T> Given<T> {
    /// The default, where nothing is said.
    pub fn or(self, default: T) -> Field<T> {
        match self {
            Self::Absent(heading) => Some(Spanned::new(heading, default)),
            Self::Wrong => None,
            Self::Value(value) => Some(value),
        }
    }

    /// For keys without a default that may be left out.
    pub fn optional(self) -> Field<Option<T>> {
        match self {
            Self::Absent(heading) => Some(Spanned::new(heading, None)),
            Self::Wrong => None,
            Self::Value(value) => Some(Spanned::new(value.span(), Some(value.into_inner()))),
        }
    }

    fn value(self) -> Field<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent(_) | Self::Wrong => None,
        }
    }
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Reader<'r, 's> {
    table: &'r DeTable<'r>,
    heading: Heading,
    span: Range<usize>,
    asked: Vec<&'static str>,
    context: &'r mut Context<'s>,
}

impl<'r, 's> Reader<'r, 's> {
    /// Reads the whole file.
    pub fn root<R>(
        table: &DeTable<'_>,
        context: &mut Context<'s>,
        read: impl FnOnce(&mut Reader<'_, 's>) -> R,
    ) -> R {
        Reader::walk(table, Heading::default(), 0..0, context, read)
    }

    /// Reads one table, then notes what it holds besides.
    fn walk<R>(
        table: &DeTable<'_>,
        heading: Heading,
        span: Range<usize>,
        context: &mut Context<'s>,
        read: impl FnOnce(&mut Reader<'_, 's>) -> R,
    ) -> R {
        let mut reader = Reader { table, heading, span, asked: Vec::new(), context };
        let result = read(&mut reader);
        for (key, _) in reader.table.iter() {
            if !reader.asked.contains(&key.get_ref().as_ref()) {
                reader.context.unknown.push(Unknown {
                    heading: reader.heading.clone(),
                    key: key.get_ref().to_string(),
                    span: key.span(),
                });
            }
        }
        result
    }

    /// Where this table's heading is.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The key's place and value; from now on the key is known.
    fn ask(&mut self, key: &'static str) -> Option<(Range<usize>, &'r Spanned<DeValue<'r>>)> {
        self.context.known.insert((self.heading.clone(), key));
        self.asked.push(key);
        self.table.get_key_value(key).map(|(key, value)| (key.span(), value))
    }

    /// Text that `parse` turns into something.
    pub fn text<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, Mistake>) -> Given<T> {
        let Some((_, value)) = self.ask(key) else { return Given::Absent(self.span()) };
        let text = self.decode::<String>(key, value, |written| write_instead::<String>(key, written));
        text.and_then(|text| self.judge(key, value.span(), parse(&text))).into()
    }

    /// One of some words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &Words<T>) -> Given<T> {
        let Some((_, value)) = self.ask(key) else { return Given::Absent(self.span()) };
        let help = |_: &str| format!("write one of the words, in double quotes; {}", words.list());
        let text = self.decode::<String>(key, value, help);
        text.and_then(|text| self.judge(key, value.span(), words.parse(&text))).into()
    }

    /// A list of texts that `parse` turns into something, one by one.
    pub fn texts<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Mistake>,
    ) -> Given<Vec<Field<T>>> {
        let Some((_, value)) = self.ask(key) else { return Given::Absent(self.span()) };
        let Some(list) = value.get_ref().as_array() else {
            let kind = value.get_ref().type_str();
            let written = self.context.findings.source().slice(value.span());
            let example = if kind == "string" { written } else { "\"...\"" };
            self.context.findings.error(
                value.span(),
                format!("`{key}`: a list of strings belongs here, this is {}", article(kind)),
                format!("write {key} = [{example}]"),
            );
            return Given::Wrong;
        };
        let mut fields = Vec::with_capacity(list.len());
        for item in list.iter() {
            let text = self.decode::<String>(key, item, |written| write_instead::<String>(key, written));
            fields.push(text.and_then(|text| self.judge(key, item.span(), parse(&text))));
        }
        Given::Value(Spanned::new(value.span(), fields))
    }

    /// A list of values that may be of several types, which `parse` tells apart; one by itself is a list of one.
    pub fn items<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Mistake>,
    ) -> Given<Vec<Field<T>>> {
        let Some((_, value)) = self.ask(key) else { return Given::Absent(self.span()) };
        let items = value.get_ref().as_array().map_or(vec![value], |list| list.iter().collect());
        let judged = items.into_iter().map(|item| self.judge(key, item.span(), parse(item.get_ref())));
        Given::Value(Spanned::new(value.span(), judged.collect()))
    }

    /// A number within bounds.
    pub fn integer<T: TryFrom<i64>>(&mut self, key: &'static str, bounds: RangeInclusive<i64>) -> Given<T> {
        let Some((_, value)) = self.ask(key) else { return Given::Absent(self.span()) };
        let help = |written: &str| format!("write {key} = {}", nearest_number(written, value, &bounds));
        let Some(number) = self.decode::<i64>(key, value, help) else { return Given::Wrong };
        let within = bounds.contains(&number).then(|| T::try_from(number).ok()).flatten();
        let outside = || Mistake::new(format!("{number} is out of bounds"), between(&bounds));
        self.judge(key, value.span(), within.ok_or_else(outside)).into()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Given<bool> {
        let Some((_, value)) = self.ask(key) else { return Given::Absent(self.span()) };
        let flag = self.decode::<bool>(key, value, |written| write_instead::<bool>(key, written));
        flag.map(|flag| Spanned::new(value.span(), flag)).into()
    }

    /// A value that may be of several types, which `parse` tells apart.
    pub fn value<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Mistake>,
    ) -> Given<T> {
        let Some((_, value)) = self.ask(key) else { return Given::Absent(self.span()) };
        self.judge(key, value.span(), parse(value.get_ref())).into()
    }

    /// Notes it if a key that must be there is not.
    pub fn require<T>(&mut self, key: &'static str, given: Given<T>, help: &str) -> Field<T> {
        if let Given::Absent(heading) = &given {
            let message = format!("`{key}` is missing in {}", self.heading);
            self.context.findings.missing(Severity::Error, heading.clone(), message, help);
        }
        given.value()
    }

    /// The table under a key, if there is one.
    pub fn table<R>(&mut self, key: &'static str, read: impl FnOnce(&mut Reader<'_, 's>) -> R) -> Option<R> {
        let heading = self.heading.below(key, false);
        match self.ask(key) {
            None if self.context.describe => {
                Some(Reader::walk(&DeTable::new(), heading, 0..0, self.context, read))
            }
            None => None,
            Some((_, value)) => {
                // In double brackets: what the first one holds is still read, so that its mistakes are named, too.
                let first = value.get_ref().as_array().and_then(|list| list.first());
                let inner = first.map_or(value, |first| first);
                if value.get_ref().as_table().is_none() {
                    let message = format!("`{key}` is {}", article(value.get_ref().type_str()));
                    let help = format!("it is one table: write {heading} and its keys below");
                    self.context.findings.error(value.span(), message, help);
                }
                let table = inner.get_ref().as_table()?;
                Some(Reader::walk(table, heading, inner.span(), self.context, read))
            }
        }
    }

    /// The tables of a list.
    pub fn tables<R>(&mut self, key: &'static str, mut read: impl FnMut(&mut Reader<'_, 's>) -> R) -> Vec<R> {
        let heading = self.heading.below(key, true);
        let help = format!("it is a list of tables: write {heading}, in double brackets, and its keys below");
        let Some((name, value)) = self.ask(key) else {
            return match self.context.describe {
                true => vec![Reader::walk(&DeTable::new(), heading, 0..0, self.context, read)],
                false => Vec::new(),
            };
        };
        match value.get_ref() {
            DeValue::Array(list) => {
                let mut results = Vec::with_capacity(list.len());
                for item in list.iter() {
                    match item.get_ref().as_table() {
                        Some(table) => {
                            results.push(Reader::walk(
                                table,
                                heading.clone(),
                                item.span(),
                                self.context,
                                &mut read,
                            ));
                        }
                        None => {
                            self.context.findings.error(item.span(), "a table belongs here", help.clone())
                        }
                    }
                }
                results
            }
            // Most likely single brackets: what it holds is still read, so that its mistakes are named, too.
            DeValue::Table(table) => {
                self.context.findings.error(name, format!("`{key}` is a single table"), help);
                vec![Reader::walk(table, heading, value.span(), self.context, read)]
            }
            other => {
                let message = format!("`{key}` is {}", article(other.type_str()));
                self.context.findings.error(value.span(), message, help);
                Vec::new()
            }
        }
    }

    fn decode<T: Leaf>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        help: impl FnOnce(&str) -> String,
    ) -> Option<T> {
        let decoded = T::deserialize(ValueDeserializer::from(value.clone()));
        if decoded.is_err() {
            let written = self.context.findings.source().slice(value.span());
            let message = match value.get_ref() {
                DeValue::Integer(_) if T::NAME == i64::NAME => format!("`{key}`: this number does not fit"),
                other => {
                    format!("`{key}`: {} belongs here, this is {}", T::NAME, article(other.type_str()))
                }
            };
            self.context.findings.error(value.span(), message, help(written));
        }
        decoded.ok()
    }

    fn judge<T>(&mut self, key: &str, span: Range<usize>, result: Result<T, Mistake>) -> Field<T> {
        match result {
            Ok(value) => Some(Spanned::new(span, value)),
            Err(mistake) => {
                self.context.findings.error(span, format!("`{key}`: {}", mistake.message), mistake.help);
                None
            }
        }
    }
}

impl<T> From<Field<T>> for Given<T> {
    fn from(field: Field<T>) -> Self {
        field.map_or(Self::Wrong, Self::Value)
    }
}

fn between(bounds: &RangeInclusive<i64>) -> String {
    format!("a number from {} to {}", bounds.start(), bounds.end())
}

/// With the article that it takes.
pub(super) fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}
