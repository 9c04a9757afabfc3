//! Tars as no program would write them.

use tar::{EntryType, Header};

/// A tar made by hand, member by member.
#[derive(Default)]
pub struct Hand(pub Vec<u8>);

impl Hand {
    /// A header that says `size`, then `data` as it is.
    pub fn add(
        mut self,
        kind: EntryType,
        name: &[u8],
        link: &[u8],
        size: u64,
        data: &[u8],
    ) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_link_name_literal(link).unwrap();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(
            EntryType::Regular,
            name.as_bytes(),
            b"",
            data.len() as u64,
            data,
        )
    }

    pub fn directory(self, name: &str) -> Self {
        self.add(EntryType::Directory, name.as_bytes(), b"", 0, b"")
    }

    pub fn link(self, name: &str, to: &str) -> Self {
        self.add(EntryType::Link, name.as_bytes(), to.as_bytes(), 0, b"")
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.add(EntryType::Symlink, name.as_bytes(), to.as_bytes(), 0, b"")
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..)
                .find(|n: &usize| *n == rest + n.to_string().len())
                .unwrap();
            bytes.extend_from_slice(format!("{length} {key}=").as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.add(EntryType::XHeader, b"pax", b"", bytes.len() as u64, &bytes)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}
