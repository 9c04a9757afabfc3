//! Files as programs write them, broken ones, and any bytes at all.

use encoding_rs::{SHIFT_JIS, UTF_8};
use proptest::prelude::*;
use snapshot::settings::{Bookmark, Word};

use super::*;

fn word(reading: &str, word: &str, pos: &str, comment: &str) -> Word {
    Word {
        reading: reading.into(),
        word: word.into(),
        pos: pos.into(),
        comment: comment.into(),
    }
}

fn utf_16(text: &str, big: bool) -> Vec<u8> {
    let mark = std::iter::once(0xFEFF);
    mark.chain(text.encode_utf16())
        .flat_map(|unit| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        })
        .collect()
}

fn shift_jis(text: &str) -> Vec<u8> {
    SHIFT_JIS.encode(text).0.into_owned()
}

#[test]
fn every_dictionary_is_read_in_every_encoding() {
    let want = vec![
        word("ふろしき", "風呂敷", "名詞", "包む"),
        word("やまだ", "山田", "姓", ""),
    ];
    let cases = [
        (
            DictionaryKind::Mozc,
            "# 私の辞書\nふろしき\t風呂敷\t名詞\t包む\nやまだ\t山田\t姓\n",
        ),
        (
            DictionaryKind::MsIme,
            "!Microsoft IME Dictionary Tool 98\r\n!Version:\r\n\r\nふろしき\t風呂敷\t普通名詞\t包む\r\nやまだ\t山田\t人名姓\r\n",
        ),
        (
            DictionaryKind::Atok,
            "!!ATOK_TANGO_TEXT_HEADER_1\r\nフロシキ\t風呂敷\t名詞*\t包む\r\nやまだ\t山田\t固有人姓$\r\n",
        ),
    ];
    for (kind, text) in cases {
        let encoded = [
            text.as_bytes().to_vec(),
            [&b"\xEF\xBB\xBF"[..], text.as_bytes()].concat(),
            utf_16(text, false),
            utf_16(text, true),
            shift_jis(text),
        ];
        for bytes in encoded {
            let read = read_dictionary(&bytes).unwrap();
            assert_eq!(read.kind, kind);
            assert_eq!(read.words, want, "{kind:?}");
            assert_eq!(read.unknown_pos, 0);
        }
    }
}

#[test]
fn the_dictionaries_of_a_mac_and_a_phone_are_read() {
    let kotoeri =
        "// ことえり\n\"ふろしき\",\"風呂敷\",\"普通名詞\"\n\"かっこ\",\"\"\"「」\"\"\",\"謎\"\n";
    let read = read_dictionary(kotoeri.as_bytes()).unwrap();
    assert_eq!((read.kind, read.unknown_pos), (DictionaryKind::Kotoeri, 1));
    assert_eq!(read.words[1], word("かっこ", "\"「」\"", "名詞", ""));

    let plist = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><array><dict><key>phrase</key><string>東京都
千代田区</string><key>shortcut</key><string>じゅうしょ</string></dict></array></plist>"#;
    let read = read_dictionary(plist.as_bytes()).unwrap();
    assert_eq!(read.kind, DictionaryKind::Mac);
    assert_eq!(
        read.words,
        [word("じゅうしょ", "東京都 千代田区", "短縮よみ", "")]
    );

    let gboard = "# Gboard Dictionary version:1\nふろしき\t風呂敷\tja-JP\n";
    let read = read_dictionary(gboard.as_bytes()).unwrap();
    assert_eq!(read.kind, DictionaryKind::Gboard);
    assert_eq!(read.words, [word("ふろしき", "風呂敷", "名詞", "")]);
}

#[test]
fn a_bad_dictionary_is_refused_with_the_line_and_the_reason() {
    let long = format!("あ\t{}\t名詞\n", "長".repeat(101));
    let many: String = (0..=snapshot::settings::MAX_WORDS)
        .map(|n| format!("あ\t{n}\t名詞\n"))
        .collect();
    let cases: &[(&[u8], Option<usize>, Reason)] = &[
        (b"", None, Reason::Empty),
        (b" \n\n", None, Reason::Empty),
        (b"# only a remark\n", None, Reason::Empty),
        (b"hello\n", None, Reason::UnknownFormat),
        (b"a\tb\tc\nno columns\n", Some(2), Reason::Columns),
        (b"a\tb\n", Some(1), Reason::Columns),
        (b"a\tb\tc\n\tb\tc\n", Some(2), Reason::Reading),
        (b"a\t\tc\n", Some(1), Reason::Word),
        (b"a\tb\tc\n\x00\x01", Some(2), Reason::NotText),
        (b"a\tb\tc\nx\n\xff\xff\xff", Some(3), Reason::NotText),
        (long.as_bytes(), Some(1), Reason::Word),
        (many.as_bytes(), Some(50_001), Reason::TooManyWords),
        (
            b"<?xml version=\"1.0\"?>\n<plist><array>\n<dict></array>",
            Some(3),
            Reason::Syntax,
        ),
        (
            b"<?xml version=\"1.0\"?><plist><array><dict><key>phrase</key><string>x</string></dict></array></plist>",
            Some(1),
            Reason::Columns,
        ),
    ];
    for (bytes, line, reason) in cases {
        let refused = read_dictionary(bytes).unwrap_err();
        let shown = String::from_utf8_lossy(bytes.get(..60).unwrap_or(bytes)).into_owned();
        assert_eq!(refused.reason, *reason, "{shown}");
        if *reason != Reason::Syntax {
            assert_eq!(refused.line, *line, "{shown}");
        }
    }
    let large = vec![b'a'; MAX_FILE_BYTES + 1];
    assert_eq!(
        read_dictionary(&large).unwrap_err().reason,
        Reason::TooLarge
    );
}

const NETSCAPE: &str = r#"<!DOCTYPE NETSCAPE-Bookmark-file-1>
<!-- This is an automatically generated file. -->
<META HTTP-EQUIV="Content-Type" CONTENT="text/html; charset=UTF-8">
<TITLE>Bookmarks</TITLE>
<H1>Bookmarks Menu</H1>
<DL><p>
    <DT><H3 ADD_DATE="1">仕事 &amp; 趣味</H3>
    <DL><p>
        <DT><A HREF="https://example.org/?a=1&amp;b=2" ICON="data:image/png;base64,AA>BB">例 &lt;1&gt;</A>
        <DT><A HREF="javascript:alert(1)">script</A>
    </DL><p>
    <DT><A HREF="http://example.net/"></A>
</DL>
"#;

fn page(title: &str, url: &str) -> Bookmark {
    Bookmark::Page {
        title: title.into(),
        url: url.into(),
    }
}

#[test]
fn bookmarks_of_every_browser_are_read() {
    let want = vec![
        Bookmark::Folder {
            title: "仕事 & 趣味".into(),
            children: vec![page("例 <1>", "https://example.org/?a=1&b=2")],
        },
        page("http://example.net/", "http://example.net/"),
    ];
    let firefox = r#"{"title":"","type":"text/x-moz-place-container","root":"placesRoot","children":[
        {"title":"menu","type":"text/x-moz-place-container","root":"bookmarksMenuFolder","children":[
            {"title":"仕事 & 趣味","type":"text/x-moz-place-container","children":[
                {"title":"例 <1>","type":"text/x-moz-place","uri":"https://example.org/?a=1&b=2"},
                {"type":"text/x-moz-place-separator"},
                {"title":"tags","type":"text/x-moz-place","uri":"place:sort=8"}]},
            {"title":"","type":"text/x-moz-place","uri":"http://example.net/"}]}]}"#;
    let chromium = r#"{"checksum":"x","roots":{"bookmark_bar":{"children":[
        {"name":"仕事 & 趣味","type":"folder","children":[
            {"name":"例 <1>","type":"url","url":"https://example.org/?a=1&b=2"},
            {"name":"x","type":"url","url":"file:///etc/passwd"}]}],"name":"bar","type":"folder"},
        "other":{"children":[{"name":"","type":"url","url":"http://example.net/"}],"type":"folder"}},"version":1}"#;
    for text in [NETSCAPE, firefox, chromium] {
        let read = read_bookmarks(text.as_bytes()).unwrap();
        assert_eq!(read.bookmarks, want, "{text}");
        assert_eq!((read.count, read.left_out), (2, 1));
    }
}

#[test]
fn bad_bookmarks_are_refused_with_the_reason() {
    let deep = format!(
        "<!DOCTYPE NETSCAPE-Bookmark-file-1>{}",
        "<H3>x</H3><DL>".repeat(100)
    );
    let json_deep = format!("{{\"children\":{}", "[{\"children\":".repeat(200));
    let cases: &[(&[u8], Option<usize>, Reason)] = &[
        (b"", None, Reason::Empty),
        (b"hello", None, Reason::UnknownFormat),
        (b"<html><body></body></html>", None, Reason::UnknownFormat),
        (b"{\"a\": 1}", None, Reason::UnknownFormat),
        (b"{\n\"children\": [\nx]}", Some(3), Reason::Syntax),
        (b"mozLz40\0xxxx", None, Reason::Compressed),
        (
            b"<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<DL>\n<A HREF=\"x",
            Some(3),
            Reason::Syntax,
        ),
        (b"<DL></DL>", None, Reason::Empty),
        (deep.as_bytes(), Some(1), Reason::TooDeep),
        (json_deep.as_bytes(), Some(1), Reason::Syntax),
    ];
    for (bytes, line, reason) in cases {
        let refused = read_bookmarks(bytes).unwrap_err();
        let shown = String::from_utf8_lossy(bytes.get(..60).unwrap_or(bytes)).into_owned();
        assert_eq!((refused.line, refused.reason), (*line, *reason), "{shown}");
    }
}

fn words() -> impl Strategy<Value = Vec<Word>> {
    let kana = "[ぁ-ん]{1,8}";
    let text = "[ぁ-んア-ン一-龠a-z]{1,8}";
    let one = (kana, text, prop_oneof!["名詞", "姓", "動詞一段"], text);
    proptest::collection::vec(one, 1..20).prop_map(|all| {
        let mut seen = std::collections::HashSet::new();
        all.into_iter()
            .filter(|(reading, word, pos, _)| {
                seen.insert((reading.clone(), word.clone(), pos.clone()))
            })
            .map(|(reading, w, pos, comment)| word(&reading, &w, &pos, &comment))
            .collect()
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), head in 0..8_usize) {
        let heads: [&[u8]; 8] = [
            b"", b"bplist00", b"<?xml version=\"1.0\"?><plist>", b"{", b"<DL>", b"!Microsoft IME\n", b"\xFF\xFE", b"\"",
        ];
        let bytes = [heads[head], &bytes].concat();
        let _ = read_dictionary(&bytes);
        let _ = read_bookmarks(&bytes);
    }

    #[test]
    fn no_text_panics(text in "[<>\"'=&;#A-Za-z0-9/!\t\n\\[\\]{}:,あ漢\u{3000} -]{0,300}") {
        let _ = read_dictionary(text.as_bytes());
        let _ = read_bookmarks(text.as_bytes());
        let _ = read_bookmarks(format!("<DL>{text}").as_bytes());
    }

    #[test]
    fn what_is_written_is_read(words in words()) {
        let text: String = words
            .iter()
            .map(|w| format!("{}\t{}\t{}\t{}\n", w.reading, w.word, w.pos, w.comment))
            .collect();
        prop_assert_eq!(&read_dictionary(text.as_bytes()).unwrap().words, &words);
        prop_assert_eq!(&read_dictionary(&utf_16(&text, true)).unwrap().words, &words);
        let (bytes, encoding, lossy) = SHIFT_JIS.encode(&text);
        if !lossy && encoding != UTF_8 && std::str::from_utf8(&bytes).is_err() {
            prop_assert_eq!(&read_dictionary(&bytes).unwrap().words, &words);
        }
    }
}
