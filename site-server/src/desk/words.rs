//! Every word of the desk, in both languages.

use axum::http::HeaderMap;

use crate::portal;

/// The languages there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Japanese,
}

/// The language the browser prefers.
pub(super) fn language(headers: &HeaderMap) -> Language {
    if portal::japanese(headers) {
        Language::Japanese
    } else {
        Language::English
    }
}

impl Language {
    /// As `lang` of the page says it.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }
}

/// The same in both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word(&'static str, &'static str);

impl Word {
    pub(super) const fn of(self, language: Language) -> &'static str {
        match language {
            Language::English => self.0,
            Language::Japanese => self.1,
        }
    }
}

macro_rules! words {
    ($($name:ident = $english:literal | $japanese:literal;)*) => {
        $(pub(super) const $name: Word = Word($english, $japanese);)*
        #[cfg(test)]
        const ALL: &[Word] = &[$($name),*];
    };
}

words! {
    DESK = "Site desk" | "拠点の管理";
    SKIP = "Skip to the content" | "本文へ移動";
    ROOMS = "Rooms of the desk" | "管理画面の一覧";
    SIGN_IN = "Sign in" | "サインイン";
    SIGN_OUT = "Sign out" | "サインアウト";
    NAME = "Name" | "名前";
    PASSWORD = "Password" | "パスワード";
    WRONG = "Name or password is wrong. Type them again." | "名前またはパスワードが違います。もう一度入力してください。";
    NOT_POSSIBLE = "That did not work." | "できませんでした。";
    BACK = "Back" | "戻る";
    OVERVIEW = "Overview" | "概要";
    USERS = "Users" | "利用者";
    USER = "User" | "利用者";
    SITES = "Sites" | "拠点";
    PCS = "PCs" | "PC";
    RELEASES = "Releases" | "リリース";
    POLICIES = "Policies" | "方針";
    RELAYS = "Relays" | "転送";
    AUDIT = "Audit log" | "監査ログ";
    STAFF = "Staff" | "担当者";
    NOTHING = "Nothing here." | "ありません。";
    SEARCH = "Search by name" | "名前で検索";
    SEARCH_BUTTON = "Search" | "検索";
    STATE = "State" | "状態";
    ACTIVE = "active" | "有効";
    DISABLED = "disabled" | "停止中";
    CARDS = "Cards" | "カード";
    CARD = "Card" | "カード";
    REVOKED = "revoked" | "失効";
    GOOD = "good" | "有効";
    LAST_SAVED = "Last saved" | "最後の保存";
    NEVER = "never" | "なし";
    NEXT_PAGE = "Next page" | "次のページ";
    QUOTA = "Quota" | "容量の上限";
    NO_LIMIT = "no limit" | "上限なし";
    USED = "Used here" | "この拠点の使用量";
    SNAPSHOT = "Newest snapshot" | "最新のスナップショット";
    COPY_HERE = "Copy here" | "この拠点のコピー";
    YES = "yes" | "あり";
    NO = "no" | "なし";
    NEXT_SITES = "Next sites" | "次に使う拠点";
    SESSIONS = "Sign-ins" | "サインイン中";
    KIND = "Kind" | "種類";
    ENDS = "Ends" | "終了";
    ACTIONS = "Actions" | "操作";
    DISABLE = "Disable" | "停止する";
    ENABLE = "Enable" | "再開する";
    REMOVE = "Remove" | "削除する";
    RECOVER = "Give a recovery code" | "再設定コードを発行";
    SET_QUOTA = "Set the quota" | "上限を設定";
    BYTES = "Bytes; empty: as the policy says" | "バイト数（空欄なら方針に従う）";
    REVOKE = "Revoke" | "失効させる";
    REPLACE = "Replace the cards" | "カードを入れ替える";
    REGISTRATION = "Registration (JSON of card issue)" | "登録情報（card issue の JSON）";
    THIS_SITE = "this site" | "この拠点";
    ADDRESS = "Address" | "アドレス";
    EXCHANGE = "Last exchange" | "最後の交換";
    WAITING = "Records waiting" | "送信待ちの記録";
    ERROR = "Error" | "エラー";
    EXPEL = "Expel" | "除名する";
    PC = "PC" | "PC";
    STAGE = "Stage" | "段階";
    SEEN = "Last seen" | "最後の確認";
    KEY = "Key" | "鍵";
    ENROLLED = "enrolled" | "登録済み";
    NOT_ENROLLED = "not enrolled" | "未登録";
    PROVEN = "signed" | "署名あり";
    CLAIMED = "claimed" | "自己申告";
    ENROL = "Enrol a PC" | "PCを登録";
    KEY_HEX = "Ed25519 public key, 64 hex digits" | "Ed25519 公開鍵（16進64桁）";
    RELEASE = "Release" | "リリース";
    BUILT = "Build timestamp" | "ビルド時刻";
    STARTED = "PCs start this one" | "PCが起動する版";
    LISTED = "listed" | "公開中";
    START = "Start this one" | "この版で起動";
    START_NEWEST = "Start the newest" | "最新の版で起動";
    WITHDRAW = "Withdraw" | "取り下げる";
    POLICY = "Policy" | "方針";
    VALUE = "Value" | "値";
    NOT_SET = "not set" | "未設定";
    SET = "Set" | "設定";
    P_QUOTA = "Bytes a user may keep here" | "利用者ごとの容量（バイト）";
    P_WALK_IN = "Users who come unannounced get their snapshot: yes or no" | "予告なしの利用者にも転送する（yes / no）";
    P_WINDOW = "Hours for relays, HH:MM-HH:MM" | "転送の時間帯（HH:MM-HH:MM）";
    P_RATE = "Bytes a second for relays" | "転送の帯域（バイト毎秒）";
    P_DROP = "Days until an unused copy is dropped" | "使わないコピーを消すまでの日数";
    FROM = "From" | "転送元";
    PROGRESS = "Progress" | "進み具合";
    NUMBER = "No." | "番号";
    WHEN = "When" | "日時";
    WHO = "Who" | "だれが";
    WHAT = "What" | "何を";
    SUBJECT = "To whom or what" | "対象";
    DETAIL = "Detail" | "詳細";
    FILTER = "Filter" | "絞り込む";
    ROLE = "Role" | "役割";
    ROLE_OPERATOR = "operator" | "運用者";
    ROLE_HELP_DESK = "help desk" | "ヘルプデスク";
    ROLE_AUDITOR = "auditor" | "監査人";
    ROLE_USER = "user" | "利用者";
    SITE_ID = "Site" | "拠点";
    OBJECTS = "Sealed objects" | "封印された項目";
    OTHER_SITES = "Other sites" | "ほかの拠点";
    RELAYS_OPEN = "Relays under way" | "進行中の転送";
    FAILED_PCS = "PCs that stopped with an error" | "エラーで止まったPC";
    METER = "All sites together, as they last said: ours / what full mirroring of everything to every site would take." | "全拠点の合計（各拠点の最新の報告）。実際の量 / すべてを全拠点に複製した場合の量。";
    METER_MOVED = "Moved between sites" | "拠点間の転送量";
    METER_STORED = "Stored" | "保存量";
    METER_REQUESTS = "Requests between sites" | "拠点間の要求数";
    CONFIRM = "This cannot be taken back." | "この操作は取り消せません。";
    CONFIRM_TYPE = "Type the name to go on" | "続けるには名前を入力してください";
    GO_ON = "Do it" | "実行する";
    CODE = "Give this code to the user. It is shown only now." | "このコードを利用者に渡してください。表示は今だけです。";
    S_BOOTING = "starting" | "起動中";
    S_WIPING = "wiping" | "消去中";
    S_RESTORING = "restoring" | "復元中";
    S_SIGNING_IN = "signing in" | "サインイン中";
    S_APPLYING = "applying the user's diff" | "環境を適用中";
    S_IN_USE = "in use" | "使用中";
    S_SAVING = "saving" | "保存中";
    S_DELIVERING = "delivering an earlier save" | "前回の保存を送信中";
    S_POWERING_OFF = "powering off" | "終了中";
    S_FAILED = "stopped with an error" | "エラーで停止";
    T_WAITING = "waits" | "待機中";
    T_RUNNING = "running" | "転送中";
    T_DONE = "done" | "完了";
    T_FAILED = "failed" | "失敗";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_both_languages() {
        for word in ALL {
            assert!(!word.0.is_empty() && !word.1.is_empty(), "{word:?}");
            assert!(word.0.is_ascii(), "{word:?}");
        }
    }
}
