//! What is said while all goes well: sentences, names of bars, names of stages and steps. Errors are in `text`,
//! questions in `prompt`.

use super::text::Language;
use crate::events::Stage;

/// Something a console shows in its own language.
pub trait Said {
    /// The text in `language`.
    fn text(&self, language: Language) -> String;
}

/// Names and numbers, which read the same everywhere.
impl Said for &str {
    fn text(&self, _: Language) -> String {
        (*self).to_owned()
    }
}

/// Names and numbers, which read the same everywhere.
impl Said for String {
    fn text(&self, _: Language) -> String {
        self.clone()
    }
}

/// News for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sentence {
    /// The agent has begun.
    ThisPc {
        /// Name of the PC.
        pc: String,
    },
    /// Parcels of the last session leave.
    SendingParcels,
    /// They are at the site.
    ParcelsArrived,
    /// A user without a snapshot.
    FirstTime {
        /// Name of the user.
        user: String,
    },
    /// A user with one.
    Welcome {
        /// Name of the user.
        user: String,
        /// When it was saved.
        saved: String,
        /// On which PC.
        pc: String,
    },
    /// The user is faster than the disk.
    StillChecking,
    /// The site allows this baseline no longer.
    FetchingNewer,
    /// No reader is plugged in.
    NoReader,
    /// A card that does not answer to power.
    CardMute,
    /// A card of another kind.
    CardOfAnotherKind,
    /// A card that another program holds.
    CardInUse,
    /// A card that cannot be talked to.
    CardUnreadable,
    /// More cards than one.
    SeveralCards,
    /// A PIN that was for the way.
    ChooseYourPin,
    /// Somebody without a card signs in.
    WithPassphrase,
    /// Somebody with a card that no user has may register.
    RegisterHere,
    /// Who just did.
    Registered {
        /// Name of the user.
        user: String,
    },
    /// A session whose card was taken out.
    Locked {
        /// Name of the user.
        user: String,
    },
    /// It goes on.
    Unlocked,
    /// The disk after a session.
    Forgotten {
        /// What was asked of the disk.
        how: String,
        /// MiB that went.
        mib: u64,
        /// Of how many.
        of_mib: u64,
        /// Samples that read as they should, and all.
        samples: Option<(u64, u64)>,
    },
    /// The snapshot at the end of a session.
    Saved {
        /// When.
        when: String,
        /// Its number.
        seq: u64,
        /// Bytes pushed; `None`: nothing had changed.
        bytes: Option<u64>,
        /// Whether the site has it; otherwise it waits sealed on this PC.
        at_site: bool,
    },
}

impl Said for Sentence {
    fn text(&self, language: Language) -> String {
        use Language::{English as En, Japanese as Ja};
        match (self, language) {
            (Self::ThisPc { pc }, En) => format!("Furoshiki on {pc}."),
            (Self::ThisPc { pc }, Ja) => format!("Furoshiki ({pc})"),
            (Self::SendingParcels, En) => "Sending what the last session could not send.".into(),
            (Self::SendingParcels, Ja) => "前回送れなかった変更を送っています。".into(),
            (Self::ParcelsArrived, En) => {
                "What the last session could not send has reached the site.".into()
            }
            (Self::ParcelsArrived, Ja) => "前回送れなかった変更がサイトに届きました。".into(),
            (Self::FirstTime { user }, En) => {
                format!("Welcome, {user}. Nothing was saved before; this is the plain system.")
            }
            (Self::FirstTime { user }, Ja) => {
                format!("ようこそ、{user} さん。まだ保存がないので、標準の環境で始めます。")
            }
            (Self::Welcome { user, saved, pc }, En) => {
                format!("Welcome, {user}. Last saved {saved} on {pc}.")
            }
            (Self::Welcome { user, saved, pc }, Ja) => {
                format!("ようこそ、{user} さん。最終保存 {saved} ({pc})")
            }
            (Self::StillChecking, En) => "The system on this PC is still being checked.".into(),
            (Self::StillChecking, Ja) => "この PC のシステムを確認しています。".into(),
            (Self::FetchingNewer, En) => {
                "This PC's system is too old for the site. A newer one is fetched, then the PC starts again.".into()
            }
            (Self::FetchingNewer, Ja) => {
                "この PC のシステムは古いため、新しいものを取得して再起動します。".into()
            }
            (Self::NoReader, En) => "No card reader is connected.".into(),
            (Self::NoReader, Ja) => "カード読み取り機が接続されていません。".into(),
            (Self::CardMute, En) => {
                "The card does not answer. Take it out and put it in with the chip first.".into()
            }
            (Self::CardMute, Ja) => {
                "カードが応答しません。向きを確かめて挿し直してください。".into()
            }
            (Self::CardOfAnotherKind, En) => {
                "The card in the reader is of another kind. Insert the card you were given here.".into()
            }
            (Self::CardOfAnotherKind, Ja) => {
                "このカードは種類が違います。登録済みのカードを挿入してください。".into()
            }
            (Self::CardInUse, En) => "Another program uses the card. Waiting for it.".into(),
            (Self::CardInUse, Ja) => "カードは他で使用中です。このまま待ちます。".into(),
            (Self::CardUnreadable, En) => {
                "The card cannot be read. Take it out and put it in again.".into()
            }
            (Self::CardUnreadable, Ja) => "カードを読み取れません。挿し直してください。".into(),
            (Self::SeveralCards, En) => {
                "More than one card is in the readers. Leave only your own.".into()
            }
            (Self::SeveralCards, Ja) => {
                "カードが 2 枚以上あります。自分のカードだけを挿入してください。".into()
            }
            (Self::ChooseYourPin, En) => {
                "The PIN you were given works once. Choose one of your own now.".into()
            }
            (Self::ChooseYourPin, Ja) => {
                "この暗証番号は最初の 1 回だけのものです。新しい暗証番号に変更してください。".into()
            }
            (Self::WithPassphrase, En) => {
                "Sign-in with a passphrase. Enter alone goes back to the card.".into()
            }
            (Self::WithPassphrase, Ja) => {
                "パスフレーズでサインインします。何も入力せずに Enter を押すとカードに戻ります。".into()
            }
            (Self::RegisterHere, En) => {
                "This card is not registered yet. Register here: card PIN, then a name and a password of your own.".into()
            }
            (Self::RegisterHere, Ja) => {
                "このカードは登録されていません。暗証番号、ユーザー名、新しいパスワードを入力すると登録できます。".into()
            }
            (Self::Registered { user }, En) => {
                format!("{user} is registered at every site. Without this card nobody can open your files: have the operator add a second one.")
            }
            (Self::Registered { user }, Ja) => {
                format!("{user} さんを登録しました。このカードがないとファイルは開けません。管理者にもう 1 枚の登録を依頼してください。")
            }
            (Self::Locked { user }, En) => {
                format!("{user} uses this PC; it is locked. Insert the same card to go on.")
            }
            (Self::Locked { user }, Ja) => {
                format!("{user} さんが使用中です。同じカードを挿入すると再開します。")
            }
            (Self::Unlocked, En) => "The session goes on.".into(),
            (Self::Unlocked, Ja) => "セッションを再開します。".into(),
            (
                Self::Forgotten {
                    how,
                    mib,
                    of_mib,
                    samples,
                },
                language,
            ) => forgotten(language, how, *mib, *of_mib, *samples),
            (
                Self::Saved {
                    when,
                    seq,
                    bytes,
                    at_site,
                },
                language,
            ) => saved(language, when, *seq, *bytes, *at_site),
        }
    }
}

fn forgotten(
    language: Language,
    how: &str,
    mib: u64,
    of_mib: u64,
    samples: Option<(u64, u64)>,
) -> String {
    match (language, samples) {
        (Language::English, Some((good, all))) => format!(
            "Session forgotten: key dropped, {how} of {mib} of {of_mib} MiB, {good} of {all} samples read as they should."
        ),
        (Language::English, None) => format!(
            "Session forgotten: key dropped, {how} of {mib} of {of_mib} MiB, nothing was read back."
        ),
        (Language::Japanese, Some((good, all))) => format!(
            "使用内容を消去しました: 鍵を破棄、{how} {mib} / {of_mib} MiB、抜き取り検査 {good} / {all}。"
        ),
        (Language::Japanese, None) => format!(
            "使用内容を消去しました: 鍵を破棄、{how} {mib} / {of_mib} MiB、抜き取り検査なし。"
        ),
    }
}

/// `saved 14:02 (snapshot 3, 12 KiB)`.
fn saved(language: Language, when: &str, seq: u64, bytes: Option<u64>, at_site: bool) -> String {
    let kib = bytes.map(|bytes| bytes.div_ceil(1024));
    match (language, kib) {
        (Language::English, None) => {
            format!("saved {when} (snapshot {seq}, nothing changed since)")
        }
        (Language::English, Some(kib)) => {
            let place = if at_site { "" } else { ", sealed on this PC" };
            format!("saved {when} (snapshot {seq}, {kib} KiB{place})")
        }
        (Language::Japanese, None) => format!("保存済み {when} (世代 {seq}、その後の変更なし)"),
        (Language::Japanese, Some(kib)) => {
            let place = if at_site {
                ""
            } else {
                "、この PC に封印"
            };
            format!("保存済み {when} (世代 {seq}、{kib} KiB{place})")
        }
    }
}

/// Name of a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// The baseline on the disk is read and checked.
    Verify,
    /// The baseline comes from the site.
    Restore,
    /// Altered parts of it come again.
    Repair,
    /// All of it is written to the session's volume.
    Rewrite,
    /// The user's packs arrive.
    Pull,
    /// They come from another site first.
    Relay,
    /// The user's changes leave.
    Save,
    /// A name without a translation.
    Other(String),
}

impl From<&str> for Label {
    fn from(name: &str) -> Self {
        Self::Other(name.into())
    }
}

impl Said for Label {
    fn text(&self, language: Language) -> String {
        let (en, ja) = match self {
            Self::Verify => ("verify", "システムの確認"),
            Self::Restore => ("restore", "システムの復元"),
            Self::Repair => ("repair", "システムの修復"),
            Self::Rewrite => ("rewrite", "システムの書き込み"),
            Self::Pull => ("pull", "ファイルの受信"),
            Self::Relay => ("relay from the last site", "前回のサイトからの転送"),
            Self::Save => ("save", "保存"),
            Self::Other(name) => (name.as_str(), name.as_str()),
        };
        choose(language, en, ja)
    }
}

/// Something without bytes that may take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Before the first stage and between two.
    Starting,
    /// pcscd and a reader.
    Reader,
    /// A card.
    Card,
    /// A card that was taken out of a session; without it the session ends.
    CardAwayEnds,
    /// The site's answer to a sign-in.
    AskSite,
    /// The card computes.
    UseCard,
    /// A passphrase becomes a key.
    UsePassphrase,
    /// A disk that is still coming up.
    FindDisk,
    /// From the handover to the session.
    StartSystem,
    /// From "switch off" to the last save, and from there to the exitrd.
    EndSession,
}

impl Said for Step {
    fn text(&self, language: Language) -> String {
        let (en, ja) = match self {
            Self::Starting => ("Working", "処理中"),
            Self::Reader => (
                "Waiting for a card reader",
                "カード読み取り機を待っています",
            ),
            Self::Card => ("Waiting for a card", "カードを待っています"),
            Self::CardAwayEnds => (
                "Card taken out: put it back, or the session is saved and ends",
                "カードが抜かれました。挿し直さない場合は保存して電源を切ります",
            ),
            Self::AskSite => ("Asking the site", "サイトに問い合わせています"),
            Self::UseCard => ("The card is working", "カードで処理しています"),
            Self::UsePassphrase => (
                "Working out the key of the passphrase",
                "パスフレーズから鍵を計算しています",
            ),
            Self::StartSystem => ("Starting the system", "システムを起動しています"),
            Self::EndSession => ("Ending the session", "セッションを終了しています"),
            Self::FindDisk => ("Looking for a disk", "ディスクを探しています"),
        };
        choose(language, en, ja)
    }
}

impl Said for Stage {
    fn text(&self, language: Language) -> String {
        let (en, ja) = match self {
            Self::FindSite => ("Looking for a site", "サイトを探しています"),
            Self::Wipe => ("Wiping the last session", "前回の使用内容を消去しています"),
            Self::Restore => ("Restoring the system", "システムを復元しています"),
            Self::SignIn => ("Sign-in", "サインイン"),
            Self::Pull => ("Fetching your files", "ファイルを受信しています"),
            Self::Apply => ("Putting your files in place", "ファイルを展開しています"),
            Self::Handover => ("Starting the system", "システムを起動しています"),
            Self::Capture => ("Looking for what changed", "変更を調べています"),
            Self::Seal => ("Sealing what changed", "変更を封印しています"),
            Self::Push => ("Sending what changed", "変更を送っています"),
            Self::Unmount => ("Closing the disk", "ディスクを閉じています"),
            Self::Forget => ("Forgetting the session's key", "鍵を消去しています"),
            Self::Discard => ("Dropping the session's blocks", "使用領域を解放しています"),
            Self::Rewrite => ("Writing the system", "システムを書き込んでいます"),
            Self::PowerOff => ("Switching off", "電源を切っています"),
        };
        choose(language, en, ja)
    }
}

fn choose(language: Language, en: &str, ja: &str) -> String {
    match language {
        Language::English => en.to_owned(),
        Language::Japanese => ja.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_reads_like_this() {
        let said = |bytes, at_site, language| {
            let when = "14:02".to_owned();
            let seq = 3;
            Sentence::Saved {
                when,
                seq,
                bytes,
                at_site,
            }
            .text(language)
        };
        assert_eq!(
            said(Some(12 << 10), true, Language::English),
            "saved 14:02 (snapshot 3, 12 KiB)"
        );
        assert_eq!(
            said(Some(1), false, Language::English),
            "saved 14:02 (snapshot 3, 1 KiB, sealed on this PC)"
        );
        assert_eq!(
            said(None, true, Language::Japanese),
            "保存済み 14:02 (世代 3、その後の変更なし)"
        );
    }

    #[test]
    fn english_is_ascii_because_every_screen_can_show_it() {
        let all: [&dyn Said; 16] = [
            &Sentence::WithPassphrase,
            &Step::UsePassphrase,
            &Sentence::CardMute,
            &Sentence::CardOfAnotherKind,
            &Sentence::CardInUse,
            &Sentence::CardUnreadable,
            &Sentence::SeveralCards,
            &Sentence::ChooseYourPin,
            &Sentence::StillChecking,
            &Sentence::NoReader,
            &Label::Relay,
            &Step::Card,
            &Step::CardAwayEnds,
            &Sentence::Unlocked,
            &Stage::Discard,
            &Sentence::SendingParcels,
        ];
        for said in all {
            assert!(said.text(Language::English).is_ascii());
            assert!(!said.text(Language::Japanese).is_ascii());
        }
    }
}
