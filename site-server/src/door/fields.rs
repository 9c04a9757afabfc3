//! What a browser sent. Only this room makes one of a request.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// Texts and files of a form. Zeroized when dropped.
#[derive(Default)]
pub(crate) struct Fields {
    texts: BTreeMap<String, Vec<Zeroizing<String>>>,
    files: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Fields {
    pub(super) fn of_pairs(pairs: Vec<(String, String)>) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            fields.put(name, value);
        }
        fields
    }

    /// For tests of what reads fields.
    #[cfg(test)]
    pub(crate) fn typed(pairs: Vec<(String, String)>) -> Self {
        Self::of_pairs(pairs)
    }

    pub(super) fn put(&mut self, name: String, value: String) {
        self.texts
            .entry(name)
            .or_default()
            .push(Zeroizing::new(value));
    }

    pub(super) fn put_file(&mut self, name: String, bytes: Zeroizing<Vec<u8>>) {
        self.files.insert(name, bytes);
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.texts.contains_key(name)
    }

    /// The first value of a field; nothing typed and no such field are the same.
    pub(crate) fn text(&self, name: &str) -> &str {
        let first = self.texts.get(name).and_then(|values| values.first());
        first.map_or("", |value| value.as_str())
    }

    /// All values of a field with several.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.texts.get(name).into_iter().flatten();
        values.map(|value| value.as_str())
    }

    /// The first value of every field.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .keys()
            .map(|name| (name.as_str(), self.text(name)))
    }

    /// A secret that leaves the form.
    pub(crate) fn secret(&self, name: &str) -> Zeroizing<String> {
        Zeroizing::new(self.text(name).to_owned())
    }

    /// A file that is not empty.
    pub(crate) fn file(&self, name: &str) -> Option<&[u8]> {
        let bytes = self.files.get(name)?;
        (!bytes.is_empty()).then_some(bytes.as_slice())
    }
}
