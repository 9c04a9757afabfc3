//! What a person is asked, in English and Japanese.

use super::text::{Language, tries};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Put a card into the reader.
    InsertCard,
    /// The card's PIN.
    Pin {
        /// Tries the card still allows, if it says.
        tries_left: Option<u32>,
    },
    /// A PIN of the user's own, for the one the card came with.
    NewPin,
    /// The same once more.
    NewPinAgain,
    /// May the last try of the PIN be used?
    LastTry,
    /// A card, or Enter from somebody without one.
    CardOrPassphrase,
    /// What stands for a card.
    Passphrase,
    /// User name.
    User,
    /// Site password.
    Password,
    /// The name of a user who registers.
    NewUser,
    /// The password of one.
    NewPassword,
    /// The same once more.
    NewPasswordAgain,
    /// May this disk's data be destroyed?
    Erase {
        /// Path and size of the disk.
        disk: String,
    },
    /// May changes that cannot reach the site be lost?
    Lose,
    /// Is what was sealed before a card was taken away the user's own?
    TakeOlder {
        /// When it was sealed, by the clock of the PC.
        when: String,
        /// On which PC.
        pc: String,
    },
}

impl Prompt {
    /// Name in events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::InsertCard => "insert-card",
            Self::Pin { .. } => "pin",
            Self::NewPin => "new-pin",
            Self::NewPinAgain => "new-pin-again",
            Self::LastTry => "last-try",
            Self::CardOrPassphrase => "card-or-passphrase",
            Self::Passphrase => "passphrase",
            Self::User => "user",
            Self::Password => "password",
            Self::NewUser => "new-user",
            Self::NewPassword => "new-password",
            Self::NewPasswordAgain => "new-password-again",
            Self::Erase { .. } => "erase",
            Self::Lose => "lose",
            Self::TakeOlder { .. } => "take-older",
        }
    }

    /// Tries left, where there are tries.
    #[must_use]
    pub const fn tries_left(&self) -> Option<u32> {
        match self {
            Self::Pin { tries_left } => *tries_left,
            Self::LastTry => Some(1),
            _ => None,
        }
    }

    /// Whether typing stays invisible.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(
            self,
            Self::Pin { .. }
                | Self::NewPin
                | Self::NewPinAgain
                | Self::Passphrase
                | Self::Password
                | Self::NewPassword
                | Self::NewPasswordAgain
        )
    }

    /// What stands on the screen; a question ends in a space.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        use Language::{English as En, Japanese as Ja};
        match (self, language) {
            (Self::InsertCard, En) => "Insert your card.".into(),
            (Self::InsertCard, Ja) => "カードを挿入してください。".into(),
            (
                Self::Pin {
                    tries_left: Some(n),
                },
                En,
            ) => format!("Card PIN ({n} {} left): ", tries(*n)),
            (
                Self::Pin {
                    tries_left: Some(n),
                },
                Ja,
            ) => format!("カードの暗証番号 (残り {n} 回): "),
            (Self::Pin { tries_left: None }, En) => "Card PIN: ".into(),
            (Self::Pin { tries_left: None }, Ja) => "カードの暗証番号: ".into(),
            (Self::NewPin, En) => "New card PIN (6 to 8 digits): ".into(),
            (Self::NewPin, Ja) => "新しい暗証番号 (数字 6 から 8 桁): ".into(),
            (Self::NewPinAgain, En) => "New card PIN again: ".into(),
            (Self::NewPinAgain, Ja) => "新しい暗証番号をもう一度: ".into(),
            (Self::LastTry, En) => "Type yes to use the last try, anything else to stop: ".into(),
            (Self::LastTry, Ja) => "最後の 1 回を使うには yes、中止するには他の文字を入力: ".into(),
            (Self::CardOrPassphrase, En) => {
                "Insert your card, or press Enter to sign in with a passphrase: ".into()
            }
            (Self::CardOrPassphrase, Ja) => {
                "カードを挿入するか、パスフレーズを使う場合は Enter を押してください: ".into()
            }
            (Self::Passphrase, En) => "Passphrase: ".into(),
            (Self::Passphrase, Ja) => "パスフレーズ: ".into(),
            (Self::User, En) => "User name: ".into(),
            (Self::User, Ja) => "ユーザー名: ".into(),
            (Self::Password, En) => "Password: ".into(),
            (Self::Password, Ja) => "パスワード: ".into(),
            (Self::NewUser, En) => "Choose a user name (a-z, 0-9, . _ -): ".into(),
            (Self::NewUser, Ja) => "ユーザー名を入力 (a-z, 0-9, . _ -): ".into(),
            (Self::NewPassword, En) => "Choose a password (8 characters or more): ".into(),
            (Self::NewPassword, Ja) => "新しいパスワード (8 文字以上): ".into(),
            (Self::NewPasswordAgain, En) => "The password again: ".into(),
            (Self::NewPasswordAgain, Ja) => "新しいパスワードをもう一度: ".into(),
            (Self::Lose, En) => "Type LOSE to switch off without these changes: ".into(),
            (Self::Lose, Ja) => "変更を失ってもよければ LOSE と入力: ".into(),
            (Self::TakeOlder { when, pc }, En) => format!(
                "Was it you who worked on {pc} until {when}? Type TAKE to go on from there, anything else to leave it: "
            ),
            (Self::TakeOlder { when, pc }, Ja) => format!(
                "{pc} で {when} まで使ったのが自分であれば TAKE、そうでなければ他の文字を入力: "
            ),
            (Self::Erase { disk }, En) => {
                format!(
                    "Disk {disk} holds data that is not Furoshiki's.\nType ERASE to destroy it all and go on: "
                )
            }
            (Self::Erase { disk }, Ja) => {
                format!(
                    "ディスク {disk} には他のデータがあります。\nすべて消去して続けるには ERASE と入力: "
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_ask_what_they_are_named_for() {
        let cases = [
            (Prompt::InsertCard, "insert-card", "Insert your card."),
            (
                Prompt::Pin {
                    tries_left: Some(3),
                },
                "pin",
                "Card PIN (3 tries left): ",
            ),
            (
                Prompt::Pin {
                    tries_left: Some(1),
                },
                "pin",
                "Card PIN (1 try left): ",
            ),
            (
                Prompt::CardOrPassphrase,
                "card-or-passphrase",
                "Insert your card, or press Enter to sign in with a passphrase: ",
            ),
            (Prompt::User, "user", "User name: "),
            (Prompt::Password, "password", "Password: "),
            (
                Prompt::LastTry,
                "last-try",
                "Type yes to use the last try, anything else to stop: ",
            ),
            (
                Prompt::TakeOlder {
                    when: "today 14:02".into(),
                    pc: "pc-1".into(),
                },
                "take-older",
                "Was it you who worked on pc-1 until today 14:02? Type TAKE to go on from there, anything else to leave it: ",
            ),
        ];
        for (prompt, name, text) in cases {
            assert_eq!(
                (prompt.name(), prompt.text(Language::English).as_str()),
                (name, text)
            );
        }
    }
}
