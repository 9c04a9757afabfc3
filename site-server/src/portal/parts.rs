//! The three parts of the settings as fields, and what was typed as settings. No I/O.

use snapshot::settings::{
    Browser, Incoming, Input, MAX_TEXT_BYTES, Mail, Part, Security, Server, Settings,
};

use super::{
    form::{Errors, Field, Fields, Group, Kind},
    text::Text,
};
use crate::imports::{read_bookmarks, read_dictionary};

const DICTIONARIES: &str = ".txt,.tsv,.csv,.plist,text/plain";
const BOOKMARK_FILES: &str = ".html,.htm,.json,text/html,application/json";

/// Settings that were read of a form, and what to tell of them.
#[derive(Default)]
pub(super) struct Read {
    pub(super) settings: Vec<Settings>,
    /// Words with an unknown part of speech.
    pub(super) unknown_pos: usize,
    /// Bookmarks left out.
    pub(super) left_out: usize,
}

/// The heading of a part.
pub(super) const fn legend(t: &'static Text, part: Part) -> &'static str {
    match part {
        Part::Mail => t.mail,
        Part::Input => t.input,
        Part::Browser => t.browser_part,
    }
}

/// The fields of a part, as in the patent's figure 5 and what programs of today need beside it.
pub(super) fn group(t: &'static Text, part: Part) -> Group {
    let rows = match part {
        Part::Mail => mail(t),
        Part::Input => input(t),
        Part::Browser => browser(t),
    };
    Group {
        legend: legend(t, part),
        rows,
    }
}

fn mail(t: &'static Text) -> Vec<Vec<Field>> {
    let protected = vec![("tls", t.tls), ("starttls", t.starttls), ("none", t.no_tls)];
    let port = |name| Field::new(name, t.port, Kind::Number).hint(t.port_hint);
    vec![
        vec![
            Field::new(
                "mail_program",
                t.mail_program,
                Kind::Select(vec![("thunderbird", "Thunderbird"), ("none", t.none)]),
            )
            .value("thunderbird"),
            Field::new("account", t.account, Kind::Plain).hint(t.account_hint),
        ],
        vec![
            Field::new("display_name", t.display_name, Kind::Text).autocomplete("name"),
            Field::new("address", t.address, Kind::Email).autocomplete("email"),
        ],
        vec![
            Field::new("incoming_server", t.incoming_server, Kind::Plain),
            Field::new(
                "incoming_protocol",
                t.protocol,
                Kind::Select(vec![("imap", "IMAP"), ("pop3", "POP3")]),
            ),
        ],
        vec![
            Field::new(
                "incoming_security",
                t.security,
                Kind::Select(protected.clone()),
            ),
            port("incoming_port"),
        ],
        vec![Field::new("smtp_server", t.smtp_server, Kind::Plain)],
        vec![
            Field::new("smtp_security", t.security, Kind::Select(protected)),
            port("smtp_port"),
        ],
    ]
}

fn input(t: &'static Text) -> Vec<Vec<Field>> {
    let japanese = t.lang == "ja";
    vec![
        vec![
            Field::new(
                "ime",
                t.ime,
                Kind::Select(vec![
                    ("mozc", "Mozc"),
                    ("anthy", "Anthy"),
                    ("skk", "SKK"),
                    ("none", t.none),
                ]),
            )
            .value(if japanese { "mozc" } else { "none" }),
            Field::new(
                "keyboard",
                t.keyboard,
                Kind::Select(vec![
                    ("jp", t.keyboard_jp),
                    ("us", t.keyboard_us),
                    ("gb", t.keyboard_gb),
                    ("de", t.keyboard_de),
                    ("fr", t.keyboard_fr),
                ]),
            )
            .value(if japanese { "jp" } else { "us" }),
        ],
        vec![
            Field::new(
                "language",
                t.language,
                Kind::Select(vec![("ja", "日本語"), ("en", "English")]),
            )
            .value(t.lang),
            Field::new("dictionary", t.dictionary, Kind::File)
                .hint(t.dictionary_hint)
                .value(DICTIONARIES),
        ],
    ]
}

fn browser(t: &'static Text) -> Vec<Vec<Field>> {
    vec![vec![
        Field::new(
            "browser",
            t.browser,
            Kind::Select(vec![
                ("firefox", "Firefox"),
                ("chromium", "Chromium"),
                ("none", t.none),
            ]),
        ),
        Field::new("bookmarks", t.bookmarks, Kind::File)
            .hint(t.bookmarks_hint)
            .value(BOOKMARK_FILES),
    ]]
}

/// Reads the parts of a form. Everything that is wrong is in `errors`, not only the first.
pub(super) fn read(t: &'static Text, parts: &[Part], fields: &Fields, errors: &mut Errors) -> Read {
    let mut read = Read::default();
    for part in parts {
        let settings = match part {
            Part::Mail => read_mail(t, fields, errors).map(Settings::Mail),
            Part::Input => {
                read_input(t, fields, errors, &mut read.unknown_pos).map(Settings::Input)
            }
            Part::Browser => {
                read_browser(t, fields, errors, &mut read.left_out).map(Settings::Browser)
            }
        };
        read.settings.extend(settings);
    }
    read
}

fn read_mail(t: &'static Text, fields: &Fields, errors: &mut Errors) -> Option<Mail> {
    let program = choice(t, fields, errors, "mail_program", &["thunderbird", "none"])?;
    let protocol = choice(t, fields, errors, "incoming_protocol", &["imap", "pop3"]);
    let incoming_security = security(t, fields, errors, "incoming_security");
    let smtp_security = security(t, fields, errors, "smtp_security");
    let before = errors.0.len();
    let used = program != "none";
    let account = line(t, fields, errors, "account", used);
    let display_name = line(t, fields, errors, "display_name", false);
    let address = line(t, fields, errors, "address", used);
    if address
        .as_deref()
        .is_some_and(|a| !a.is_empty() && !is_address(a))
    {
        errors.add("address", t.bad_address);
    }
    let incoming = if protocol == Some("pop3") {
        Incoming::Pop3
    } else {
        Incoming::Imap
    };
    let usual = match (incoming, incoming_security) {
        (Incoming::Imap, Some(Security::Tls)) => 993,
        (Incoming::Imap, _) => 143,
        (Incoming::Pop3, Some(Security::Tls)) => 995,
        (Incoming::Pop3, _) => 110,
    };
    let incoming_host = host(t, fields, errors, "incoming_server", used);
    let incoming_port = port(t, fields, errors, "incoming_port", usual);
    let smtp_host = host(t, fields, errors, "smtp_server", used);
    let usual = match smtp_security {
        Some(Security::Tls) => 465,
        Some(Security::Starttls) => 587,
        _ => 25,
    };
    let smtp_port = port(t, fields, errors, "smtp_port", usual);
    if errors.0.len() > before {
        return None;
    }
    Some(Mail {
        program: program.to_owned(),
        display_name: display_name?,
        address: address?,
        incoming,
        incoming_server: Server {
            host: incoming_host?,
            port: incoming_port?,
            security: incoming_security?,
        },
        smtp_server: Server {
            host: smtp_host?,
            port: smtp_port?,
            security: smtp_security?,
        },
        account: account?,
    })
}

fn read_input(
    t: &'static Text,
    fields: &Fields,
    errors: &mut Errors,
    unknown_pos: &mut usize,
) -> Option<Input> {
    let engine = choice(t, fields, errors, "ime", &["mozc", "anthy", "skk", "none"]);
    let keyboard = choice(
        t,
        fields,
        errors,
        "keyboard",
        &["jp", "us", "gb", "de", "fr"],
    );
    let language = choice(t, fields, errors, "language", &["ja", "en"]);
    let words = match fields.file("dictionary").map(read_dictionary) {
        None => Vec::new(),
        Some(Ok(dictionary)) => {
            *unknown_pos = dictionary.unknown_pos;
            dictionary.words
        }
        Some(Err(refused)) => {
            errors.add("dictionary", t.refused(refused));
            return None;
        }
    };
    Some(Input {
        engine: engine?.to_owned(),
        keyboard: keyboard?.to_owned(),
        language: language?.to_owned(),
        words,
    })
}

fn read_browser(
    t: &'static Text,
    fields: &Fields,
    errors: &mut Errors,
    left_out: &mut usize,
) -> Option<Browser> {
    let program = choice(
        t,
        fields,
        errors,
        "browser",
        &["firefox", "chromium", "none"],
    );
    let bookmarks = match fields.file("bookmarks").map(read_bookmarks) {
        None => Vec::new(),
        Some(Ok(bookmarks)) => {
            *left_out = bookmarks.left_out;
            bookmarks.bookmarks
        }
        Some(Err(refused)) => {
            errors.add("bookmarks", t.refused(refused));
            return None;
        }
    };
    Some(Browser {
        program: program?.to_owned(),
        bookmarks,
    })
}

fn choice(
    t: &'static Text,
    fields: &Fields,
    errors: &mut Errors,
    name: &'static str,
    list: &[&'static str],
) -> Option<&'static str> {
    let chosen = list.iter().find(|value| **value == fields.text(name));
    if chosen.is_none() {
        errors.add(name, t.bad_choice);
    }
    chosen.copied()
}

fn security(
    t: &'static Text,
    fields: &Fields,
    errors: &mut Errors,
    name: &'static str,
) -> Option<Security> {
    Some(
        match choice(t, fields, errors, name, &["tls", "starttls", "none"])? {
            "tls" => Security::Tls,
            "starttls" => Security::Starttls,
            _ => Security::None,
        },
    )
}

fn line(
    t: &'static Text,
    fields: &Fields,
    errors: &mut Errors,
    name: &'static str,
    needed: bool,
) -> Option<String> {
    let text = fields.text(name).trim();
    if text.is_empty() && needed {
        errors.add(name, t.missing);
        return None;
    }
    if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        errors.add(name, t.too_long);
        return None;
    }
    Some(text.to_owned())
}

fn host(
    t: &'static Text,
    fields: &Fields,
    errors: &mut Errors,
    name: &'static str,
    needed: bool,
) -> Option<String> {
    let host = line(t, fields, errors, name, needed)?;
    if host.is_empty() || is_host(&host) {
        return Some(host);
    }
    errors.add(name, t.bad_host);
    None
}

fn port(
    t: &'static Text,
    fields: &Fields,
    errors: &mut Errors,
    name: &'static str,
    usual: u16,
) -> Option<u16> {
    match fields.text(name).trim() {
        "" => Some(usual),
        text => match text.parse() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                errors.add(name, t.bad_port);
                None
            }
        },
    }
}

/// A DNS name or an address; names of other scripts in their ASCII form.
fn is_host(host: &str) -> bool {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

fn is_address(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && local.len() <= 64
            && !local.contains(char::is_whitespace)
            && is_host(domain)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::text::english, *};

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let good = [
            ("mail_program", "thunderbird"),
            ("account", "hanako"),
            ("display_name", "山田 花子"),
            ("address", "hanako@example.org"),
            ("incoming_server", "imap.example.org"),
            ("incoming_protocol", "imap"),
            ("incoming_security", "tls"),
            ("incoming_port", ""),
            ("smtp_server", "smtp.example.org"),
            ("smtp_security", "starttls"),
            ("smtp_port", " 2525 "),
            ("ime", "mozc"),
            ("keyboard", "jp"),
            ("language", "ja"),
            ("browser", "firefox"),
        ];
        let with = |(name, value): &(&str, &str)| {
            let other = pairs.iter().find(|(changed, _)| changed == name);
            (
                name.to_string(),
                other.map_or(*value, |(_, value)| value).to_string(),
            )
        };
        Fields::typed(good.iter().map(with).collect())
    }

    fn wrong(pairs: &[(&str, &str)]) -> Vec<&'static str> {
        let mut errors = Errors::default();
        let read = read(english(), &Part::ALL, &fields(pairs), &mut errors);
        assert_eq!(errors.is_empty(), read.settings.len() == 3);
        errors.0.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn a_form_becomes_settings_with_the_usual_ports() {
        let mut errors = Errors::default();
        let read = read(english(), &Part::ALL, &fields(&[]), &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        let [
            Settings::Mail(mail),
            Settings::Input(input),
            Settings::Browser(_),
        ] = read.settings.as_slice()
        else {
            panic!("three parts");
        };
        assert_eq!(
            (mail.incoming_server.port, mail.smtp_server.port),
            (993, 2525)
        );
        assert_eq!(
            (input.engine.as_str(), input.keyboard.as_str()),
            ("mozc", "jp")
        );
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_eq!(wrong(&[]), [""; 0]);
        assert_eq!(wrong(&[("account", " ")]), ["account"]);
        assert_eq!(wrong(&[("address", "hanako")]), ["address"]);
        assert_eq!(
            wrong(&[
                ("incoming_server", "a b"),
                ("smtp_server", ""),
                ("smtp_port", "0")
            ]),
            ["incoming_server", "smtp_server", "smtp_port"]
        );
        assert_eq!(wrong(&[("browser", "netscape")]), ["browser"]);
        assert_eq!(wrong(&[("incoming_security", "")]), ["incoming_security"]);
        let none = [
            ("mail_program", "none"),
            ("account", ""),
            ("address", ""),
            ("incoming_server", ""),
            ("smtp_server", ""),
        ];
        assert_eq!(
            wrong(&none),
            [""; 0],
            "who uses no mail program types nothing"
        );
        let long = "x".repeat(301);
        assert_eq!(wrong(&[("display_name", &long)]), ["display_name"]);
    }
}
