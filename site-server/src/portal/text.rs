//! Every sentence of the portal, in both languages, and which of them a browser gets.

use axum::http::{HeaderMap, header};

use crate::imports::{Reason, Refused};

macro_rules! texts {
    ($($name:ident: $en:literal, $ja:literal;)*) => {
        /// The sentences of one language.
        #[derive(Debug)]
        pub(super) struct Text {
            pub(super) lang: &'static str,
            $(pub(super) $name: &'static str,)*
        }
        static ENGLISH: Text = Text { lang: "en", $($name: $en,)* };
        static JAPANESE: Text = Text { lang: "ja", $($name: $ja,)* };
    };
}

texts! {
    title: "Furoshiki", "ふろしき";
    tagline: "Your computer, at any desk", "どの机でも、自分のパソコン";
    skip: "Skip to the page", "本文へ移動";
    pages: "Pages", "ページ";
    back: "Back", "戻る";
    save: "Save", "保存";
    errors: "Something needs your attention", "入力を確認してください";
    not_possible: "That did not work", "できませんでした";
    at_site: "Site", "拠点";
    on_pc: "PC", "PC";
    number: "Snapshot", "スナップショット";
    size: "Size", "大きさ";
    saved_at: "Saved", "保存日時";

    user: "User name", "ユーザー名";
    password: "Password", "パスワード";
    sign_in: "Sign in", "サインイン";
    sign_out: "Sign out", "サインアウト";
    sign_in_why: "See what is saved, and say where you will be next.", "保存されている環境を見たり、次に使う拠点を決めたりできます。";
    wrong: "User name or password is wrong. Type them again.", "ユーザー名またはパスワードが違います。もう一度入力してください。";
    first_time: "First time here?", "はじめての方";
    register_link: "Register your settings with your card", "カードで初期設定を登録する";
    code_title: "One more step", "もう一段階の確認";
    code: "Code", "コード";
    code_why: "Type the 6 digits your authenticator app shows, or one of your recovery codes.", "認証アプリに表示される6桁の数字、または回復コードを入力してください。";
    code_wrong: "This code is not right, or was used already. Wait for the next one.", "コードが違うか、使用済みです。次のコードをお待ちください。";
    go_on: "Continue", "続ける";

    my_environment: "My environment", "自分の環境";
    nothing_saved: "Nothing is saved yet. It will be when you use a shared PC.", "まだ何も保存されていません。共用PCを使うと保存されます。";
    last_saved: "Last saved", "最後の保存";
    unknown: "known at the site that has it", "保存した拠点で分かります";
    copies: "Copies", "コピー";
    here: "this site", "この拠点";
    has_it: "has the newest snapshot", "最新のスナップショットがあります";
    waiting: "waits for the copy", "コピー待ち";
    running: "is being copied", "コピー中";
    failed: "copy failed", "コピーできませんでした";
    no_copy: "has no copy", "コピーはありません";
    down: "does not answer now", "今は応答がありません";
    older: "older snapshot", "古いスナップショット";
    history: "History", "履歴";
    history_why: "Snapshots the sites still keep, the newest first.", "拠点に残っているスナップショット（新しい順）";
    kept_at: "Kept at", "保管場所";
    in_use: "In use now", "使用中";
    in_use_none: "You are signed in at no PC.", "今サインインしているPCはありません。";
    since: "since", "開始";
    leave: "Delete my copies there", "この拠点のコピーを消す";
    leave_title: "Delete your copies at this site?", "この拠点のコピーを消しますか";
    leave_why: "Everything of yours that this site keeps is deleted there. Your environment stays at the other sites. When you come back, it is copied again.", "この拠点に保管されているあなたのスナップショットをすべて消します。ほかの拠点の環境はそのままです。また使うときは、もう一度コピーされます。";
    leave_yes: "Delete the copies", "コピーを消す";
    keep: "Keep them", "消さない";
    only_copy: "This site has the only copy of your newest snapshot, as far as the other sites answered. Copy it to another site first.", "最新のスナップショットは、確認できた限りこの拠点にしかありません。先にほかの拠点へコピーしてください。";
    leave_done: "The copies were deleted.", "コピーを消しました。";

    room: "Room at this site", "この拠点の使用量";
    room_why: "What you keep at this site, sealed. Old snapshots go by themselves.", "この拠点に封をして保管している量です。古いスナップショットは自動的に消えます。";
    room_nearly: "Your room at this site is nearly used up: saving may fail. Delete large files you do not need, or ask the help desk for more.", "この拠点の容量がほぼいっぱいです。保存できなくなる恐れがあります。不要な大きいファイルを消すか、ヘルプデスクに相談してください。";
    no_quota: "no limit", "上限なし";
    live_off: "Something is being copied.", "コピーが進んでいます。";
    live_on: "This page refreshes every 5 seconds.", "このページは5秒ごとに更新されます。";
    live_now: "Refresh now", "今すぐ更新";
    live_start: "Refresh by itself", "自動で更新する";
    live_stop: "Stop refreshing", "自動更新をやめる";

    next_site: "Next site", "次に使う拠点";
    next_site_why: "Your environment is copied only to the sites you choose.", "環境は、選んだ拠点だけにコピーされます。";
    on_the_way: "Chosen sites", "選んだ拠点";
    none_chosen: "No site is chosen.", "まだ選ばれていません。";
    where_next: "Where will you be next?", "次はどこで使いますか";
    arrives: "Arrival", "到着予定";
    arrives_hint: "If you know it. Sites where you arrive first are served first. Time zone of this site:", "分かる場合だけ。到着の早い拠点から順にコピーします。この拠点の時刻:";
    arrives_wrong: "This is no date and time to come. Type it like 2026-12-24 09:30.", "日時が正しくないか、過去の日時です。2026-12-24 09:30 のように入力してください。";
    choose_one: "Choose at least one site.", "拠点を一つ以上選んでください。";
    copy_there: "Copy it there", "コピーする";
    cancel: "Cancel", "取り消す";
    stands: "The choice stands until you arrive: what you save later follows.", "到着するまで有効です。このあと保存した内容も届きます。";
    waits_for_first: "Waits until something is saved.", "最初の保存を待っています。";
    time_left: "left", "残り";

    settings: "Settings", "初期設定";
    settings_why: "What your programs are set up with when you sit down for the first time. It is sealed to your card at the moment you save: this site cannot read it back, and shows only dates and numbers.", "はじめて共用PCを使うときの設定です。保存した瞬間にあなたのカードで封をするため、この拠点でも中身は読めません。日付と件数だけが表示されます。";
    mail: "Mail", "メール";
    input: "Input method and dictionary", "日本語入力と辞書";
    browser_part: "Browser and bookmarks", "ブラウザーとブックマーク";
    not_saved: "not registered", "未登録";
    words: "words", "語";
    bookmarks_count: "bookmarks", "件のブックマーク";
    replace: "Replace", "登録し直す";
    fill_in: "Register", "登録する";
    saved_ok: "Saved, sealed, and on its way to every site.", "封をして保存しました。すべての拠点へ届けています。";
    left_out: "left out: scripts, local files and the browser's own entries", "件は除外しました（スクリプト、ローカルファイルなど）";
    unknown_pos: "words had an unknown part of speech and are nouns now", "語は品詞が分からないため名詞にしました";
    replaces_all: "This replaces what is saved: type everything, also what stays the same.", "保存済みの内容と入れ替わります。変わらない項目も含めて入力してください。";

    register: "Initial settings", "初期設定の登録";
    register_why: "Register once, at any site. At your first visit your programs are ready.", "どの拠点でも一度だけ登録すれば、最初の利用からソフトが設定済みで使えます。";
    who: "Who you are", "利用者";
    user_hint: "As on the sheet that came with your card.", "カードと一緒に受け取った用紙のとおりに入力してください。";
    card: "Card ID", "カードID";
    card_hint: "32 letters and digits on the same sheet.", "同じ用紙にある32文字の英数字です。";
    card_wrong: "A card ID has 32 letters (a to f) and digits.", "カードIDは32文字の英数字（a〜f、0〜9）です。";
    invitation: "Invitation code", "招待コード";
    invitation_hint: "Only the first time, if you were given one. The password above then becomes yours.", "はじめての登録で受け取った場合だけ入力してください。上のパスワードがあなたのパスワードになります。";
    password_again: "Password again", "パスワード（確認）";
    password_again_hint: "Only together with an invitation code.", "招待コードを使うときだけ入力してください。";
    not_the_same: "The two passwords differ.", "二つのパスワードが一致しません。";
    password_length: "A password has at least 8 characters.", "パスワードは8文字以上にしてください。";
    identity_wrong: "User name, card ID, password or invitation code is wrong. Check all of them; an invitation works once and not for ever.", "ユーザー名、カードID、パスワード、招待コードのいずれかが違います。すべて確認してください。招待コードは一度だけ、期限内に使えます。";
    code_first: "Your account asks for a second step. Sign in first, then change the settings there.", "二段階の確認が設定されています。先にサインインしてから設定を変更してください。";
    trust: "Without scripts your browser sends these fields to this site, which seals them to your card and forgets them. For that moment you trust the site.", "入力内容はいったんこの拠点に送られ、カードで封をしたあと消去されます。その瞬間だけ拠点を信頼していただくことになります。";

    mail_program: "Mail program", "メールソフト";
    none: "None", "使わない";
    display_name: "Your name in mail", "差出人の名前";
    address: "Mail address", "メールアドレス";
    protocol: "Incoming mail", "受信方式";
    incoming_server: "Incoming server", "受信（POP/IMAP）サーバー";
    smtp_server: "SMTP server", "送信（SMTP）サーバー";
    account: "Mail account", "メールアカウント";
    account_hint: "The name the server knows you by. The mail password is not asked here: the mail program asks for it once.", "サーバーに登録されている名前です。メールのパスワードはここでは尋ねません。メールソフトが一度だけ尋ねます。";
    security: "Protection", "暗号化";
    tls: "TLS", "TLS";
    starttls: "STARTTLS", "STARTTLS";
    no_tls: "none", "なし";
    port: "Port", "ポート";
    port_hint: "Empty: the usual one.", "空欄なら標準のポート";
    ime: "Input method", "漢字変換IME";
    keyboard: "Keyboard", "キーボード";
    keyboard_jp: "Japanese", "日本語（JIS）";
    keyboard_us: "US English", "英語（US）";
    keyboard_gb: "UK English", "英語（UK）";
    keyboard_de: "German", "ドイツ語";
    keyboard_fr: "French", "フランス語";
    language: "Language of the desktop", "デスクトップの言語";
    dictionary: "Dictionary file", "辞書ファイル";
    dictionary_hint: "Mozc, Google IME, MS-IME, ATOK, Kotoeri or macOS, up to 4 MB. Without a file the dictionary is empty.", "Mozc・Google日本語入力・MS-IME・ATOK・ことえり・macOSの形式、4MBまで。選ばない場合、辞書は空になります。";
    browser: "Browser", "ブラウザー";
    bookmarks: "Bookmark file", "ブックマークファイル";
    bookmarks_hint: "HTML from any browser, or JSON of Firefox or Chromium, up to 4 MB. Without a file there are no bookmarks.", "各ブラウザーのHTML、またはFirefox・ChromiumのJSON、4MBまで。選ばない場合、ブックマークは空になります。";
    missing: "This field is needed.", "入力してください。";
    bad_host: "This is no name of a server, like mail.example.org.", "サーバー名が正しくありません（例: mail.example.org）。";
    bad_port: "A port is a number from 1 to 65535.", "ポートは1から65535までの数字です。";
    bad_address: "This is no mail address.", "メールアドレスが正しくありません。";
    bad_choice: "Choose one of the list.", "一覧から選んでください。";
    too_long: "This is too long.", "長すぎます。";

    my_account: "Account", "アカウント";
    change_password: "Change password", "パスワードの変更";
    change_password_why: "Every other sign-in ends, at all sites and PCs.", "すべての拠点とPCで、ほかのサインインが終わります。";
    password_now: "Password now", "現在のパスワード";
    password_new: "New password", "新しいパスワード";
    password_new_hint: "At least 8 characters. Long is better than odd.", "8文字以上。複雑さより長さが大切です。";
    password_changed: "The password was changed. Every other sign-in ended.", "パスワードを変更しました。ほかのサインインは終了しました。";
    password_wrong: "The password is wrong.", "パスワードが違います。";
    second_factor: "Second step at sign-in", "二段階の確認";
    second_factor_why: "A code of an authenticator app on your phone, beside the password. It protects your account at every site.", "パスワードに加えて、スマートフォンの認証アプリのコードを使います。すべての拠点で有効です。";
    second_factor_on: "on", "有効";
    second_factor_off: "off", "無効";
    turn_on: "Turn on", "有効にする";
    turn_off: "Turn off", "無効にする";
    set_up: "Set up the second step", "二段階の確認の設定";
    scan: "Scan this code with your authenticator app, or type the key.", "認証アプリでこのコードを読み取るか、キーを入力してください。";
    qr_name: "Code to scan with an authenticator app", "認証アプリで読み取るコード";
    key: "Key", "キー";
    confirm: "Then type the 6 digits the app shows.", "次に、アプリに表示された6桁の数字を入力してください。";
    recovery: "Recovery codes", "回復コード";
    recovery_why: "Each works once, if you lose your phone. Write them down now: they are shown only here.", "スマートフォンをなくしたときに一度ずつ使えます。ここでしか表示されないので、今書き留めてください。";
    recovery_left: "recovery codes left", "個の回復コードが残っています";
    sign_ins: "Signed in at this site", "この拠点でのサインイン";
    this_browser: "this browser", "このブラウザー";
    portal: "Portal", "ポータル";
    until: "until", "期限";
    everywhere: "Sign out everywhere", "すべてサインアウト";
    everywhere_why: "Ends all sign-ins of yours at all sites, this one too.", "すべての拠点のサインインを、このブラウザーも含めて終了します。";
}

impl Text {
    /// Why a file was not taken: line and reason.
    pub(super) fn refused(&self, refused: Refused) -> String {
        let ja = self.lang == "ja";
        let reason = match (refused.reason, ja) {
            (Reason::Empty, false) => "There is nothing in this file.",
            (Reason::Empty, true) => "ファイルに何も入っていません。",
            (Reason::TooLarge, false) => "This file is larger than 4 MB.",
            (Reason::TooLarge, true) => "ファイルが4MBを超えています。",
            (Reason::NotText, false) => "These are no letters in UTF-8, UTF-16 or Shift_JIS.",
            (Reason::NotText, true) => "UTF-8、UTF-16、Shift_JISの文字ではありません。",
            (Reason::UnknownFormat, false) => "This is none of the formats this form takes.",
            (Reason::UnknownFormat, true) => "対応している形式ではありません。",
            (Reason::Compressed, false) => {
                "This is a compressed backup of Firefox. Export the bookmarks as HTML or JSON."
            }
            (Reason::Compressed, true) => {
                "Firefoxの圧縮されたバックアップです。HTMLかJSONで書き出してください。"
            }
            (Reason::Columns, false) => "Reading, word and part of speech are wanted.",
            (Reason::Columns, true) => "読み、単語、品詞が必要です。",
            (Reason::Reading, false) => "The reading is empty or too long.",
            (Reason::Reading, true) => "読みが空か、長すぎます。",
            (Reason::Word, false) => "The word is empty or too long.",
            (Reason::Word, true) => "単語が空か、長すぎます。",
            (Reason::TooManyWords, false) => "There are more than 50 000 words.",
            (Reason::TooManyWords, true) => "単語が50,000語を超えています。",
            (Reason::Syntax, false) => "The file breaks off or is damaged here.",
            (Reason::Syntax, true) => "ここでファイルが途切れているか、壊れています。",
            (Reason::TooDeep, false) => "Folders lie in more than 32 folders.",
            (Reason::TooDeep, true) => "フォルダーの階層が32を超えています。",
            (Reason::TooManyBookmarks, false) => "There are more than 20 000 bookmarks.",
            (Reason::TooManyBookmarks, true) => "ブックマークが20,000件を超えています。",
            (Reason::Address, false) => "An address is too long.",
            (Reason::Address, true) => "アドレスが長すぎます。",
        };
        match (refused.line, ja) {
            (None, _) => reason.to_owned(),
            (Some(line), false) => format!("Line {line}: {reason}"),
            (Some(line), true) => format!("{line}行目: {reason}"),
        }
    }

    /// "older snapshot 3; the newest is 5".
    pub(super) fn stale(&self, have: u64, newest: u64) -> String {
        if self.lang == "ja" {
            format!("{}（{have}番。最新は{newest}番）", self.older)
        } else {
            format!("{} {have}; the newest is {newest}", self.older)
        }
    }

    /// "about 3 min left".
    pub(super) fn left(&self, seconds: u64) -> String {
        let (amount, unit) = match seconds {
            0..60 => (seconds.max(1), if self.lang == "ja" { "秒" } else { "s" }),
            60..3600 => (
                seconds.div_ceil(60),
                if self.lang == "ja" { "分" } else { "min" },
            ),
            _ => (
                seconds.div_ceil(3600),
                if self.lang == "ja" { "時間" } else { "h" },
            ),
        };
        if self.lang == "ja" {
            format!("{}約{amount}{unit}", self.time_left)
        } else {
            format!("about {amount} {unit} {}", self.time_left)
        }
    }

    /// "312 words".
    pub(super) fn counted(&self, number: u64, what: &str) -> String {
        if self.lang == "ja" {
            format!("{number}{what}")
        } else {
            format!("{number} {what}")
        }
    }
}

/// The cookie with the language a user chose.
pub(super) const LANGUAGE_COOKIE: &str = "__Host-furoshiki-language";

/// The language the user chose, else the one the browser prefers of the two; English when it names neither.
pub(super) fn text_for(headers: &HeaderMap) -> &'static Text {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let chosen = cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == LANGUAGE_COOKIE);
    match chosen {
        Some((_, "ja")) => return &JAPANESE,
        Some((_, "en")) => return &ENGLISH,
        _ => {}
    }
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
pub(super) fn english() -> &'static Text {
    &ENGLISH
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
