//! Errors as a person reads them, in English and Japanese. What is asked is in `prompt`, news in `sentence`.
//!
//! An error is four lines: what failed, why, is my work safe, what to do now. The second line is the technical one:
//! the chain of the error as it is, in English in both languages, for whoever helps.

/// Language of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Japanese.
    Japanese,
}

pub(super) const fn tries(n: u32) -> &'static str {
    if n == 1 { "try" } else { "tries" }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $en:expr, $ja:expr;)*) => {
        /// What went wrong, as a code a person can report. The texts beside it are lines 1, 3 and 4.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as it is shown and reported.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Whether the operator should hear of it; mistakes at sign-in are between a user and the PC.
            #[must_use]
            pub fn is_to_be_reported(self) -> bool {
                !self.name().starts_with("SIGN-IN-")
            }

            /// Lines 1, 3 and 4. `{saved}` becomes the time of the last save.
            const fn texts(self, language: Language) -> [&'static str; 3] {
                match (self, language) {
                    $((Self::$variant, Language::English) => $en,
                    (Self::$variant, Language::Japanese) => $ja,)*
                }
            }
        }
    };
}

const SAFE: &str = "Your files are safe at the site{saved}.";
const SAFE_JA: &str = "ファイルはサイトに安全に保存されています{saved}。";

codes! {
    /// The card refused the PIN.
    WrongPin = "SIGN-IN-WRONG-PIN":
        ["The PIN is wrong.", SAFE, "Try again, or ask the operator for a new PIN."],
        ["暗証番号が違います。", SAFE_JA, "もう一度入力するか、管理者に連絡してください。"];
    /// One try is left and will not be used without a word.
    LastTry = "SIGN-IN-LAST-TRY":
        ["Only one try of the PIN is left.", SAFE, "If you are not sure, stop here and ask the operator; after a wrong PIN the card is blocked."],
        ["暗証番号を入力できるのはあと 1 回です。", SAFE_JA, "確かでなければ中止して管理者に連絡してください。間違えるとカードは使えなくなります。"];
    /// The card takes no PIN any more.
    PinBlocked = "SIGN-IN-PIN-BLOCKED":
        ["The card is blocked.", SAFE, "Take the card to the operator, who unblocks it with the PUK."],
        ["カードが使用停止になっています。", SAFE_JA, "管理者にカードを渡して解除してもらってください。"];
    /// The card left the reader before the user was signed in.
    CardRemoved = "SIGN-IN-CARD-REMOVED":
        ["The card was taken out.", SAFE, "Put it in again; sign-in begins anew."],
        ["カードが抜かれました。", SAFE_JA, "もう一度挿入してください。最初からやり直します。"];
    /// A card that nobody issued.
    CardWithoutKey = "SIGN-IN-CARD-WITHOUT-KEY":
        ["This card has no key.", "Nothing was changed; no files are touched without a known card.", "Use the card you were given here, or take this one to the operator."],
        ["このカードには鍵がありません。", "何も変更されていません。", "登録済みのカードを使うか、管理者にこのカードを渡してください。"];
    /// A key of a kind that this program does not use.
    CardUnfit = "SIGN-IN-CARD-UNFIT":
        ["This PC cannot use the key on this card.", "Nothing was changed; no files are touched without a known card.", "Use the card you were given here; if it is this one, report code SIGN-IN-CARD-UNFIT to the operator."],
        ["この PC ではこのカードの鍵を使えません。", "何も変更されていません。", "登録済みのカードを使ってください。このカードの場合は SIGN-IN-CARD-UNFIT と管理者に伝えてください。"];
    /// A new PIN that cannot be one.
    NewPinRefused = "SIGN-IN-NEW-PIN":
        ["This cannot be your new PIN.", "The card still has the PIN you were given.", "Type 6 to 8 digits, the same twice."],
        ["この暗証番号は使えません。", "カードの暗証番号は変更されていません。", "数字 6 から 8 桁を 2 回とも同じに入力してください。"];
    /// The site refused the password.
    WrongPassword = "SIGN-IN-WRONG-PASSWORD":
        ["The password is wrong.", SAFE, "Type PIN, name and password again."],
        ["パスワードが違います。", SAFE_JA, "暗証番号、ユーザー名、パスワードをもう一度入力してください。"];
    /// The site refused name and password of somebody without a card.
    WrongNameOrPassword = "SIGN-IN-WRONG-NAME-OR-PASSWORD":
        ["User name or password is wrong, or you have no passphrase.", SAFE, "Type name and password again, use your card, or ask the operator."],
        ["ユーザー名かパスワードが違うか、パスフレーズが登録されていません。", SAFE_JA, "ユーザー名とパスワードをもう一度入力するか、カードを使うか、管理者に連絡してください。"];
    /// The passphrase does not become the user's key.
    WrongPassphrase = "SIGN-IN-WRONG-PASSPHRASE":
        ["The passphrase is wrong.", SAFE, "Type it again, small and capital letters and blanks as you chose them; Enter alone begins anew."],
        ["パスフレーズが違います。", SAFE_JA, "大文字と小文字、空白に注意してもう一度入力してください。何も入力せずに Enter を押すと最初に戻ります。"];
    /// The passphrase could not be tried, or opens nothing.
    PassphraseFailed = "SIGN-IN-PASSPHRASE-FAILED":
        ["The passphrase could not be used.", SAFE, "Try again, or at another PC; if it happens twice, report this code to the operator."],
        ["パスフレーズを使えませんでした。", SAFE_JA, "もう一度試すか、別の PC を使ってください。繰り返す場合はこの番号を管理者に伝えてください。"];
    /// The operator did not allow passphrases, or not any more.
    PassphrasesClosed = "SIGN-IN-PASSPHRASES-CLOSED":
        ["This site takes no passphrases.", SAFE, "Use your card, or ask the operator."],
        ["このサイトではパスフレーズを使えません。", SAFE_JA, "カードを使うか、管理者に連絡してください。"];
    /// No user of the sites has this card.
    UnknownCard = "SIGN-IN-UNKNOWN-CARD":
        ["This card belongs to nobody.", "Nothing was changed; no files are touched without a known card.", "Use the card you were given here, or ask the operator to register this one."],
        ["このカードは登録されていません。", "何も変更されていません。", "登録済みのカードを使うか、管理者に登録を依頼してください。"];
    /// Another user has the name that somebody who registers chose.
    NameTaken = "SIGN-IN-NAME-TAKEN":
        ["Another user has this name.", "Nothing was changed; you are not registered yet.", "Choose another user name."],
        ["このユーザー名は使用中です。", "何も変更されていません。まだ登録されていません。", "別のユーザー名を入力してください。"];
    /// A name nobody can have.
    NewUserRefused = "SIGN-IN-NEW-NAME":
        ["This cannot be a user name.", "Nothing was changed; you are not registered yet.", "Type small letters and digits, a letter first."],
        ["このユーザー名は使えません。", "何も変更されていません。まだ登録されていません。", "a から z と数字を、最初は a から z で入力してください。"];
    /// A password nobody may have, or another one the second time.
    NewPasswordRefused = "SIGN-IN-NEW-PASSWORD":
        ["This cannot be your password.", "Nothing was changed; you are not registered yet.", "Type 8 characters or more, the same twice."],
        ["このパスワードは使えません。", "何も変更されていません。まだ登録されていません。", "8 文字以上を 2 回とも同じに入力してください。"];
    /// The name typed is not the name of the card's user.
    CardOfAnotherUser = "SIGN-IN-CARD-OF-ANOTHER-USER":
        ["This card belongs to another user.", "Nothing was changed; nobody's files were opened.", "Check the user name, or use your own card."],
        ["このカードは別のユーザーのものです。", "何も変更されていません。", "ユーザー名を確かめるか、自分のカードを使ってください。"];
    /// A locked session, and a card that did not begin it.
    NotThisSession = "SIGN-IN-NOT-THIS-SESSION":
        ["This PC is in use by another user.", "Nothing was changed; the other user's session stays locked.", "Use another PC, or ask the operator."],
        ["この PC は別のユーザーが使用中です。", "何も変更されていません。", "別の PC を使うか、管理者に連絡してください。"];
    /// The operator revoked the card.
    CardRevoked = "SIGN-IN-CARD-REVOKED":
        ["This card was revoked.", SAFE, "Use your new card, or ask the operator."],
        ["このカードは無効になっています。", SAFE_JA, "新しいカードを使うか、管理者に連絡してください。"];
    /// The site slows down guessing.
    TooManyTries = "SIGN-IN-TOO-MANY-TRIES":
        ["Too many wrong passwords.", SAFE, "Wait a few minutes, then try again."],
        ["パスワードの間違いが多すぎます。", SAFE_JA, "数分待ってからもう一度試してください。"];
    /// The reader or the card does not answer as it should.
    CardFailed = "SIGN-IN-CARD-FAILED":
        ["The card cannot be read.", SAFE, "Take the card out and put it in again; if that does not help, try another reader."],
        ["カードを読み取れません。", SAFE_JA, "カードを挿し直してください。直らなければ別の読み取り機を試してください。"];
    /// The wrapped user key does not open with this card.
    KeyNotOpened = "SIGN-IN-KEY-NOT-OPENED":
        ["The card does not open your key.", SAFE, "Try again; if it happens twice, report this code to the operator."],
        ["カードで鍵を開けませんでした。", SAFE_JA, "もう一度試し、繰り返す場合はこの番号を管理者に伝えてください。"];
    /// The site refused for another reason.
    SignInRefused = "SIGN-IN-REFUSED":
        ["The site refused the sign-in.", SAFE, "Try again; if it happens twice, report this code to the operator."],
        ["サイトにサインインを拒否されました。", SAFE_JA, "もう一度試し、繰り返す場合はこの番号を管理者に伝えてください。"];
    /// No site answers.
    SiteDown = "SITE-DOWN":
        ["No site answers.", SAFE, "Wait: this PC keeps trying. Check the network cable; if it lasts, report code SITE-DOWN."],
        ["サイトに接続できません。", SAFE_JA, "このまま待つと再接続します。ネットワークケーブルを確かめ、続く場合は SITE-DOWN と伝えてください。"];
    /// The certificate does not fit the time.
    SiteClock = "SITE-CLOCK":
        ["The site's certificate is not valid at the time this PC's clock shows.", SAFE, "Set the clock of this PC (firmware setup); if it is right, report code SITE-CLOCK."],
        ["この PC の時計ではサイトの証明書が有効期間外です。", SAFE_JA, "PC の時計を合わせてください。正しい場合は SITE-CLOCK と伝えてください。"];
    /// Nobody named a site.
    SiteUnknown = "SITE-UNKNOWN":
        ["This PC does not know where its site is.", SAFE, "Check the network cable; if it stays so, report code SITE-UNKNOWN."],
        ["この PC は接続先のサイトを知りません。", SAFE_JA, "ネットワークケーブルを確かめ、続く場合は SITE-UNKNOWN と伝えてください。"];
    /// Whoever answers is not a site of this operator.
    SiteForeign = "SITE-FOREIGN":
        ["What answers is not a site of this operator.", SAFE, "Do not type anything; report code SITE-FOREIGN."],
        ["応答したのは正規のサイトではありません。", SAFE_JA, "何も入力せず、SITE-FOREIGN と伝えてください。"];
    /// A pack or manifest is not what its name says.
    AlteredPack = "PULL-ALTERED-PACK":
        ["Your saved files were altered at the site.", "The altered part was not opened; other sites may have a good copy.", "Sign in at another site, and report code PULL-ALTERED-PACK."],
        ["サイトに保存されたファイルが改変されています。", "改変された部分は開いていません。他のサイトに正しい写しがある可能性があります。", "別のサイトでサインインし、PULL-ALTERED-PACK と伝えてください。"];
    /// Packs do not arrive.
    PullFailed = "PULL-FAILED":
        ["Your files did not arrive.", SAFE, "Sign in again; if it happens twice, report code PULL-FAILED."],
        ["ファイルを受信できませんでした。", SAFE_JA, "もう一度サインインし、繰り返す場合は PULL-FAILED と伝えてください。"];
    /// The snapshot lies under another baseline than this PC's.
    OtherBaseline = "PULL-OTHER-BASELINE":
        ["Your files were saved on another baseline.", SAFE, "Use a PC with that baseline, or report code PULL-OTHER-BASELINE."],
        ["ファイルは別の基本環境で保存されました。", SAFE_JA, "同じ基本環境の PC を使うか、PULL-OTHER-BASELINE と伝えてください。"];
    /// The diff does not go onto the baseline.
    ApplyFailed = "APPLY-FAILED":
        ["Your files could not be put on this PC.", SAFE, "Use another PC and report code APPLY-FAILED."],
        ["この PC にファイルを展開できませんでした。", SAFE_JA, "別の PC を使い、APPLY-FAILED と伝えてください。"];
    /// The disk's baseline is not the signed one.
    AlteredBaseline = "RESTORE-ALTERED-BASELINE":
        ["The system on this PC's disk was altered.", SAFE, "Wait: it is fetched again from the site. Report code RESTORE-ALTERED-BASELINE."],
        ["この PC のディスク上のシステムが改変されています。", SAFE_JA, "サイトから取り直しています。RESTORE-ALTERED-BASELINE と伝えてください。"];
    /// What the site serves is not the signed baseline either.
    RestoreRefused = "RESTORE-REFUSED":
        ["This PC could not be restored: the site's baseline is not the signed one.", SAFE, "Do not use this PC; report code RESTORE-REFUSED."],
        ["この PC を復元できません: サイトの基本環境が署名と一致しません。", SAFE_JA, "この PC を使わず、RESTORE-REFUSED と伝えてください。"];
    /// Reading or writing the disk failed.
    RestoreWrite = "RESTORE-WRITE":
        ["This PC could not be restored.", SAFE, "Use another PC and report code RESTORE-WRITE."],
        ["この PC を復元できませんでした。", SAFE_JA, "別の PC を使い、RESTORE-WRITE と伝えてください。"];
    /// No disk to restore.
    NoDisk = "RESTORE-NO-DISK":
        ["This PC has no disk to use.", SAFE, "Use another PC and report code RESTORE-NO-DISK."],
        ["この PC には使えるディスクがありません。", SAFE_JA, "別の PC を使い、RESTORE-NO-DISK と伝えてください。"];
    /// Memory stands in for a disk.
    MemorySession = "NO-DISK-RAM":
        ["This PC has no disk to use: this session lives in its memory.", "What is saved goes to the site; nothing can wait on this PC.", "Work as usual; when you switch off, wait until the last save has reached the site."],
        ["この PC には使えるディスクがないため、セッションはメモリ上で動作します。", "保存内容はサイトに送られます。この PC に残して後で送ることはできません。", "通常どおり使えます。電源を切るときは、最後の保存がサイトに届くまで待ってください。"];
    /// The old session's volume cannot be replaced.
    WipeFailed = "WIPE-FAILED":
        ["This PC could not be wiped.", SAFE, "Use another PC and report code WIPE-FAILED."],
        ["この PC を消去できませんでした。", SAFE_JA, "別の PC を使い、WIPE-FAILED と伝えてください。"];
    /// The system cannot be started.
    HandoverFailed = "HANDOVER-FAILED":
        ["The restored system cannot be started.", SAFE, "Use another PC and report code HANDOVER-FAILED."],
        ["復元したシステムを起動できません。", SAFE_JA, "別の PC を使い、HANDOVER-FAILED と伝えてください。"];
    /// The medium this PC booted from is not complete.
    BootMedium = "BOOT-MEDIUM":
        ["This PC was started from a medium that is not complete.", SAFE, "Start again from a good medium, or report code BOOT-MEDIUM."],
        ["起動メディアが正しくありません。", SAFE_JA, "正しいメディアから起動するか、BOOT-MEDIUM と伝えてください。"];
    /// A younger baseline forbids this one.
    BootOutdated = "BOOT-OUTDATED":
        ["This PC was started with an old system that is no longer allowed.", SAFE, "Take old boot media out and start again; if it stays, report code BOOT-OUTDATED."],
        ["この PC は使用が終了した古いシステムで起動されました。", SAFE_JA, "古い起動メディアを外して起動し直すか、BOOT-OUTDATED と伝えてください。"];
    /// Sealed, but the site does not answer.
    SaveInOutbox = "SAVE-IN-OUTBOX":
        ["Your last changes did not reach the site.", "They wait sealed on this PC's disk and leave at its next start{saved}.", "Switch this PC on again soon, or tell the operator: code SAVE-IN-OUTBOX."],
        ["最後の変更をサイトに送れませんでした。", "変更は封印されてこの PC に残り、次回の起動時に送られます{saved}。", "この PC をもう一度起動するか、SAVE-IN-OUTBOX と伝えてください。"];
    /// The site does not take the last save, and no outbox can keep it.
    SaveNoOutbox = "SAVE-NO-OUTBOX":
        ["Your last changes did not reach the site.", "They are in this PC's memory only; what was saved before is safe at the site{saved}.", "Leave this PC on: it keeps trying. If it lasts, report code SAVE-NO-OUTBOX."],
        ["最後の変更をサイトに送れませんでした。", "変更はこの PC のメモリにだけあります。それ以前の保存はサイトにあります{saved}。", "電源を切らずにお待ちください。再送を続けます。続く場合は SAVE-NO-OUTBOX と伝えてください。"];
    /// Another PC saved meanwhile.
    SaveHeadMoved = "SAVE-HEAD-MOVED":
        ["Another PC saved your files meanwhile.", "Both versions are kept: that PC's at the site, this one's sealed on this PC's disk.", "Report code SAVE-HEAD-MOVED to the operator, who can bring the two together."],
        ["別の PC が先に保存しました。", "両方の版が残っています: その PC の版はサイトに、この PC の版は封印されてこの PC に。", "SAVE-HEAD-MOVED と管理者に伝えてください。"];
    /// Sealed before a card was taken away.
    SaveOldEpoch = "SAVE-OLD-EPOCH":
        ["This PC holds changes that were sealed before one of your cards was taken away.", "They wait sealed on this PC's disk; the site takes them only when you say that they are yours.", "If you did not work on this PC, leave them and report code SAVE-OLD-EPOCH."],
        ["この PC には、カードが無効になる前の変更が残っています。", "変更は封印されてこの PC に残り、自分のものと確かめた場合にだけサイトに送られます。", "この PC を使っていない場合はそのまま残し、SAVE-OLD-EPOCH と管理者に伝えてください。"];
    /// Neither the site nor the outbox took the snapshot.
    SaveFailed = "SAVE-FAILED":
        ["Your last changes could not be saved.", "What was saved before is safe at the site{saved}.", "Keep this PC on and report code SAVE-FAILED."],
        ["最後の変更を保存できませんでした。", "それ以前の保存はサイトにあります{saved}。", "電源を切らずに SAVE-FAILED と伝えてください。"];
    /// The exitrd could not do everything.
    ForgetIncomplete = "FORGET-INCOMPLETE":
        ["This PC could not drop the session's blocks.", "The key of the session dies with the memory; nobody can read the disk.", "Nothing to do now; report code FORGET-INCOMPLETE if you see it again."],
        ["この PC はセッションの領域を解放できませんでした。", "鍵は電源断とともに消え、ディスクは誰にも読めません。", "操作は不要です。繰り返す場合は FORGET-INCOMPLETE と伝えてください。"];
}

/// An error as a person sees it.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What went wrong.
    pub code: Code,
    /// The technical line; must carry no secret and no file name of a user.
    pub detail: String,
    /// When the user's files were last saved, if known.
    pub saved: Option<String>,
    /// Tries of the PIN left, if that is what it is about.
    pub tries_left: Option<u32>,
}

impl Notice {
    /// An error with its technical line.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            saved: None,
            tries_left: None,
        }
    }

    /// An error with the whole chain of its cause as technical line.
    #[must_use]
    pub fn of(code: Code, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(code, chain(error))
    }

    /// Adds when the files were last saved.
    #[must_use]
    pub fn saved(mut self, when: Option<String>) -> Self {
        self.saved = when;
        self
    }

    /// Adds the tries left.
    #[must_use]
    pub fn tries_left(mut self, n: u32) -> Self {
        self.tries_left = Some(n);
        self
    }

    /// The four lines: what failed, why, is my work safe, what to do now.
    #[must_use]
    pub fn lines(&self, language: Language) -> [String; 4] {
        let [what, safe, now] = self.code.texts(language);
        let saved = match (&self.saved, language) {
            (None, _) => String::new(),
            (Some(when), Language::English) => format!(" (saved {when})"),
            (Some(when), Language::Japanese) => format!(" (最終保存 {when})"),
        };
        let tries = match (self.tries_left, language) {
            (None, _) => String::new(),
            (Some(n), Language::English) => format!(", {n} {} left", tries(n)),
            (Some(n), Language::Japanese) => format!("、残り {n} 回"),
        };
        // One line stays one line, whatever a server or a driver wrote.
        let detail: String = self
            .detail
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(300)
            .collect();
        [
            what.to_owned(),
            format!("{detail}{tries} [{}]", self.code.name()),
            safe.replace("{saved}", &saved),
            now.to_owned(),
        ]
    }
}

/// `error: its cause: its cause`.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_four_lines_in_both_languages_and_names_its_code() {
        for code in Code::ALL {
            for language in [Language::English, Language::Japanese] {
                let notice = Notice::new(*code, "read\nx: Input/output error")
                    .saved(Some("14:02".into()))
                    .tries_left(2);
                let lines = notice.lines(language);
                assert!(
                    lines
                        .iter()
                        .all(|line| !line.is_empty() && !line.contains(['\n', '{', '}'])),
                    "{lines:?}"
                );
                assert!(lines[1].contains(code.name()), "{lines:?}");
                let japanese = lines[0].chars().any(|c| ('ぁ'..='龠').contains(&c));
                assert_eq!(japanese, language == Language::Japanese, "{lines:?}");
            }
        }
    }

    #[test]
    fn codes_are_unlike_one_another() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn a_wrong_pin_reads_like_this() {
        let notice = Notice::new(Code::WrongPin, "the card refused the PIN")
            .tries_left(2)
            .saved(Some("14:02".into()));
        assert_eq!(
            notice.lines(Language::English),
            [
                "The PIN is wrong.",
                "the card refused the PIN, 2 tries left [SIGN-IN-WRONG-PIN]",
                "Your files are safe at the site (saved 14:02).",
                "Try again, or ask the operator for a new PIN.",
            ]
        );
    }

    #[test]
    fn the_font_of_the_splash_is_asked_for_every_character() {
        let sources = [
            include_str!("text.rs"),
            include_str!("prompt.rs"),
            include_str!("sentence.rs"),
            include_str!("progress.rs"),
        ];
        let listed = include_str!("../../../image-recipes/common/splash/characters.txt");
        let ascii = (' '..='~').map(String::from).collect::<String>();
        let used = sources.iter().flat_map(|source| source.chars());
        let used = used.filter(|c| !c.is_ascii()).chain(ascii.chars());
        let missing: std::collections::BTreeSet<char> =
            used.filter(|c| !listed.contains(*c)).collect();
        assert!(
            missing.is_empty(),
            "add to image-recipes/common/splash/characters.txt: {missing:?}"
        );
    }
}
