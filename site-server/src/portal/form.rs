//! Forms as data: what is asked, what was typed, what is wrong with it. One template shows them all.

pub(super) use crate::door::Fields;

/// What a field takes.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A line of anything.
    Text,
    /// A name, a code: no capitals, no spelling.
    Plain,
    /// A mail address.
    Email,
    /// Digits.
    Number,
    /// A password; never shown again.
    Password,
    /// A file; `value` is what the browser offers.
    File,
    /// One of a list: value and words.
    Select(Vec<(&'static str, &'static str)>),
    /// Date and time of the place.
    Moment,
}

impl Kind {
    pub(super) const fn input_type(&self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Password => "password",
            Self::File => "file",
            Self::Moment => "datetime-local",
            _ => "text",
        }
    }

    pub(super) const fn inputmode(&self) -> &'static str {
        match self {
            Self::Number => "numeric",
            _ => "",
        }
    }

    pub(super) const fn keeps_value(&self) -> bool {
        !matches!(self, Self::Password | Self::File)
    }

    pub(super) const fn plain(&self) -> bool {
        matches!(self, Self::Plain | Self::Email)
    }
}

/// A field of a form.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) hint: String,
    pub(super) kind: Kind,
    pub(super) value: String,
    pub(super) error: Option<String>,
    pub(super) autocomplete: &'static str,
    pub(super) required: bool,
}

impl Field {
    pub(super) fn new(name: &'static str, label: &'static str, kind: Kind) -> Self {
        Self {
            name,
            label,
            hint: String::new(),
            kind,
            value: String::new(),
            error: None,
            autocomplete: "",
            required: false,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(super) fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    pub(super) fn autocomplete(mut self, autocomplete: &'static str) -> Self {
        self.autocomplete = autocomplete;
        self
    }

    pub(super) fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(super) fn chosen(&self, value: &str) -> bool {
        self.value == value
    }

    /// Ids of what a screen reader says with the field.
    pub(super) fn described_by(&self) -> String {
        let mut ids = Vec::new();
        if !self.hint.is_empty() {
            ids.push(format!("{}-hint", self.name));
        }
        if self.error.is_some() {
            ids.push(format!("{}-error", self.name));
        }
        ids.join(" ")
    }
}

/// Fields under one heading, one or two in a row.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) legend: &'static str,
    pub(super) rows: Vec<Vec<Field>>,
}

impl Group {
    /// The same with what was typed and what is wrong with it.
    pub(super) fn filled(mut self, fields: &Fields, errors: &Errors) -> Self {
        for field in self.rows.iter_mut().flatten() {
            if field.kind.keeps_value() && fields.has(field.name) {
                field.value = fields.text(field.name).to_owned();
            }
            field.error = errors.of(field.name);
        }
        self
    }
}

/// What is wrong, in the order of the form: field (empty: the whole) and words.
#[derive(Debug, Clone, Default)]
pub(super) struct Errors(pub(super) Vec<(&'static str, String)>);

impl Errors {
    pub(super) fn add(&mut self, field: &'static str, words: impl Into<String>) {
        self.0.push((field, words.into()));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, field: &str) -> Option<String> {
        let found = self.0.iter().find(|(name, _)| *name == field);
        found.map(|(_, words)| words.clone())
    }
}
