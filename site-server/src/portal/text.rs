//! Every sentence of the portal, in both languages.

use axum::http::{HeaderMap, header};

/// The sentences of one language.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) lang: &'static str,
    pub(super) title: &'static str,
    pub(super) user: &'static str,
    pub(super) password: &'static str,
    pub(super) sign_in: &'static str,
    pub(super) sign_out: &'static str,
    pub(super) wrong: &'static str,
    pub(super) my_environment: &'static str,
    pub(super) nothing_saved: &'static str,
    pub(super) last_saved: &'static str,
    pub(super) on_pc: &'static str,
    pub(super) at_site: &'static str,
    pub(super) number: &'static str,
    pub(super) size: &'static str,
    pub(super) unknown: &'static str,
    pub(super) copies: &'static str,
    pub(super) here: &'static str,
    pub(super) has_it: &'static str,
    pub(super) waiting: &'static str,
    pub(super) running: &'static str,
    pub(super) failed: &'static str,
    pub(super) no_copy: &'static str,
    pub(super) next_site: &'static str,
    pub(super) next_site_why: &'static str,
    pub(super) nowhere: &'static str,
    pub(super) choose: &'static str,
    pub(super) not_possible: &'static str,
    pub(super) back: &'static str,
}

static ENGLISH: Text = Text {
    lang: "en",
    title: "Furoshiki",
    user: "User name",
    password: "Password",
    sign_in: "Sign in",
    sign_out: "Sign out",
    wrong: "User name or password is wrong. Type them again.",
    my_environment: "My environment",
    nothing_saved: "Nothing is saved yet. It will be when you use a shared PC.",
    last_saved: "Last saved",
    on_pc: "On PC",
    at_site: "At site",
    number: "Snapshot",
    size: "Size",
    unknown: "known at the site that has it",
    copies: "Copies",
    here: "this site",
    has_it: "has the newest snapshot",
    waiting: "waits for the copy",
    running: "is being copied",
    failed: "copy failed",
    no_copy: "has no copy",
    next_site: "Next site",
    next_site_why: "Where will you be next? Your environment is copied only there.",
    nowhere: "nowhere in particular",
    choose: "Choose",
    not_possible: "That did not work.",
    back: "Back",
};

static JAPANESE: Text = Text {
    lang: "ja",
    title: "ふろしき",
    user: "ユーザー名",
    password: "パスワード",
    sign_in: "サインイン",
    sign_out: "サインアウト",
    wrong: "ユーザー名またはパスワードが違います。もう一度入力してください。",
    my_environment: "自分の環境",
    nothing_saved: "まだ何も保存されていません。共用PCを使うと保存されます。",
    last_saved: "最後の保存",
    on_pc: "PC",
    at_site: "拠点",
    number: "スナップショット",
    size: "大きさ",
    unknown: "保存した拠点で分かります",
    copies: "コピー",
    here: "この拠点",
    has_it: "最新のスナップショットがあります",
    waiting: "コピー待ち",
    running: "コピー中",
    failed: "コピーできませんでした",
    no_copy: "コピーはありません",
    next_site: "次に使う拠点",
    next_site_why: "次はどこで使いますか。環境はその拠点だけにコピーされます。",
    nowhere: "特に決めない",
    choose: "決定",
    not_possible: "できませんでした。",
    back: "戻る",
};

/// The language the browser prefers of the two; English when it names neither.
pub(super) fn text_for(headers: &HeaderMap) -> &'static Text {
    let accepted = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if prefers_japanese(accepted) {
        &JAPANESE
    } else {
        &ENGLISH
    }
}

/// RFC 9110 §12.5.4: ranges with a weight from 0 to 1, 1 when there is none; the first of equals wins.
fn prefers_japanese(accepted: &str) -> bool {
    let mut best = (0, false);
    for range in accepted.split(',') {
        let mut parts = range.split(';');
        let tag = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let weight = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(1000, thousandths);
        let japanese = match tag.split('-').next() {
            Some("ja") => true,
            Some("en" | "*") => false,
            _ => continue,
        };
        if weight > best.0 {
            best = (weight, japanese);
        }
    }
    best.1
}

fn thousandths(weight: &str) -> u32 {
    match weight.trim().split_once('.') {
        None => weight
            .trim()
            .parse::<u32>()
            .map_or(0, |whole| whole.min(1) * 1000),
        Some(("1", _)) => 1000,
        Some((_, digits)) => format!("{:0<3}", digits)
            .get(..3)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_the_language_it_prefers() {
        let cases = [
            ("", false),
            ("ja", true),
            ("ja-JP,ja;q=0.9,en-US;q=0.8,en;q=0.7", true),
            ("en-US,en;q=0.9,ja;q=0.8", false),
            ("en;q=0.5, ja;q=0.75", true),
            ("fr,ja;q=0.1", true),
            ("fr", false),
            ("ja;q=0", false),
            ("*", false),
            ("ja;q=junk", false),
        ];
        for (accepted, japanese) in cases {
            assert_eq!(prefers_japanese(accepted), japanese, "{accepted}");
        }
    }
}
