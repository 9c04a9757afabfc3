//! Netscape's bookmark file, which every browser writes: HTML in name, tags one after the other in truth.

use super::{Reason, Refused, bookmarks::Tree};

/// Longest title that is looked at, in bytes.
const TITLE_BYTES: usize = 4 << 10;

pub(super) fn read(text: &str) -> Result<Tree, Refused> {
    let known = text
        .get(..text.len().min(4096))
        .unwrap_or(text)
        .to_ascii_uppercase();
    if !known.contains("NETSCAPE-BOOKMARK-FILE") && !known.contains("<DL") {
        return Err(Refused::whole(Reason::UnknownFormat));
    }
    let mut tree = Tree::new();
    let mut title: Option<String> = None;
    // What of <DL> began a folder: the first of the file does not.
    let mut folders = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some((before, after)) = rest.split_once('<') {
        line += before.matches('\n').count();
        let Some(end) = tag_end(after) else {
            return Err(Refused::at(line, Reason::Syntax));
        };
        let (tag, next) = after.split_at(end);
        let name: String = tag
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '/' || *letter == '!')
            .collect::<String>()
            .to_ascii_uppercase();
        let inner = |close: &str| {
            let inner = next.strip_prefix('>').unwrap_or(next);
            // A title that does not end is no reason to search the whole file for each tag.
            let mut end = inner.len().min(TITLE_BYTES);
            while !inner.is_char_boundary(end) {
                end -= 1;
            }
            let inner = inner.get(..end).unwrap_or_default();
            let end = find(inner, close).unwrap_or(inner.len());
            entities(inner.get(..end).unwrap_or_default())
        };
        match name.as_str() {
            "H3" => title = Some(inner("</H3")),
            "A" => {
                let url = attribute(tag, "HREF").unwrap_or_default();
                tree.page(Some(line), &inner("</A"), &entities(url))?;
            }
            "DL" => {
                let folder = title.take();
                if let Some(title) = &folder {
                    tree.enter(Some(line), title)?;
                }
                folders.push(folder.is_some());
                if folders.len() > 2 * snapshot::settings::MAX_DEPTH {
                    return Err(Refused::at(line, Reason::TooDeep));
                }
            }
            "/DL" if folders.pop() == Some(true) => tree.leave(),
            _ => {}
        }
        line += tag.matches('\n').count();
        rest = next.strip_prefix('>').unwrap_or(next);
    }
    Ok(tree)
}

/// Where a tag ends: the first `>` outside of quotes; `-->` of a remark.
fn tag_end(tag: &str) -> Option<usize> {
    if tag.starts_with("!--") {
        return tag.find("-->").map(|at| at + 2);
    }
    let mut quote = None;
    for (at, letter) in tag.char_indices() {
        match (quote, letter) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
    }
    None
}

/// The value of an attribute, quoted or not.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = tag;
    loop {
        let at = find(rest, name)?;
        let before = rest.get(..at)?.chars().next_back();
        let after = rest.get(at + name.len()..)?;
        rest = after;
        if before.is_none_or(|letter| !letter.is_whitespace()) {
            continue;
        }
        let Some(value) = after.trim_start().strip_prefix('=') else {
            continue;
        };
        let value = value.trim_start();
        return match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value.get(1..)?.split(quote).next(),
            _ => value.split_whitespace().next(),
        };
    }
}

/// Where `wanted` (ASCII capitals) begins, in capitals or small letters.
fn find(text: &str, wanted: &str) -> Option<usize> {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    text.windows(wanted.len())
        .position(|window| window.eq_ignore_ascii_case(wanted))
}

/// The few entities browsers write.
fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let end = after
            .char_indices()
            .take(9)
            .find(|(_, letter)| *letter == ';')
            .map(|(at, _)| at);
        let letter = end
            .and_then(|end| after.get(..end))
            .and_then(|name| match name {
                "amp" => Some('&'),
                "lt" => Some('<'),
                "gt" => Some('>'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                "nbsp" => Some(' '),
                _ => {
                    let number = name.strip_prefix('#')?;
                    let number = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(number)
                }
            });
        match (letter, end) {
            (Some(letter), Some(end)) => {
                out.push(letter);
                rest = after.get(end + 1..).unwrap_or_default();
            }
            _ => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
