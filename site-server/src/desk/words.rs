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
    DESK = "Furoshiki desk" | "ふろしき 管理";
    SKIP = "Skip to the content" | "本文へ移動";
    ROOMS = "Rooms of the desk" | "管理画面の一覧";
    DONE = "Done." | "完了しました。";
    BACK = "Back" | "戻る";
    CONTINUE = "Continue" | "続ける";
    NOT_POSSIBLE = "That did not work" | "できませんでした";
    NEVER = "never" | "なし";
    NEXT_PAGE = "Next page" | "次のページ";
    NO_LIMIT = "no limit" | "上限なし";
    ACTIONS = "Actions" | "操作";
    CHANGE = "Change" | "変更";
    YES = "yes" | "あり";
    NO = "no" | "なし";
    ON = "on" | "設定済み";
    OFF = "off" | "未設定";
    NAME = "Name" | "名前";
    STATE = "State" | "状態";
    KIND = "Kind" | "種類";
    ENDS = "Ends" | "終了";
    VALUE = "Value" | "値";
    SET = "Set" | "設定";
    ROLE = "Role" | "役割";
    ERROR = "error" | "エラー";
    NOTHING = "Nothing here." | "ありません。";
    DAYS = "days" | "日";

    SIGN_IN = "Sign in" | "サインイン";
    SIGN_IN_WHY = "For the staff of this site." | "この拠点の担当者用です。";
    SIGN_OUT = "Sign out" | "サインアウト";
    PASSWORD = "Password" | "パスワード";
    WRONG = "Name or password is wrong. Type them again." | "名前またはパスワードが違います。もう一度入力してください。";
    SECOND_STEP = "Second step" | "二段階の確認";
    SECOND_STEP_WHY = "After the password, the desk asks for a code of an authenticator app on your phone." | "パスワードのあとに、スマートフォンの認証アプリのコードを入力します。";
    CODE_FIELD = "Code" | "コード";
    CODE_WHY = "Type the 6 digits your authenticator app shows, or one of your recovery codes." | "認証アプリに表示される6桁の数字、または回復コードを入力してください。";
    CODE_WRONG = "This code is not right, or was used already. Wait for the next one." | "コードが違うか、使用済みです。次のコードをお待ちください。";

    MY_ACCOUNT = "My account" | "自分のアカウント";
    MY_ACCOUNT_WHY = "Your password and second step at this desk." | "管理画面で使うパスワードと二段階の確認です。";
    CHANGE_PASSWORD = "Change the password" | "パスワードの変更";
    CHANGE_PASSWORD_WHY = "Ends your other sign-ins at this desk." | "ほかの場所でのサインインは終了します。";
    PASSWORD_NOW = "Password now" | "現在のパスワード";
    PASSWORD_NEW = "New password, at least 8 characters" | "新しいパスワード（8文字以上）";
    PASSWORD_AGAIN = "New password again" | "新しいパスワード（確認）";
    PASSWORD_WRONG = "The password now is wrong." | "現在のパスワードが違います。";
    PASSWORD_LENGTH = "A password has at least 8 characters." | "パスワードは8文字以上にしてください。";
    TOO_LONG = "The password is too long." | "パスワードが長すぎます。";
    NOT_THE_SAME = "The two new passwords differ." | "二つの新しいパスワードが一致しません。";
    SET_UP = "Set up a second step" | "二段階の確認を設定";
    SCAN = "Scan this with an authenticator app, or type the key into it. Then type the code it shows." | "認証アプリで読み取るか、キーを入力してください。続けて、表示されたコードを入力します。";
    QR = "Code to scan with an authenticator app" | "認証アプリで読み取るコード";
    SECRET = "Key" | "キー";
    CODE_CONFIRM = "Code the app shows" | "アプリに表示されたコード";
    TURN_ON = "Turn on" | "有効にする";
    TURN_OFF = "Turn off" | "無効にする";
    TURN_OFF_WHY = "Type a code of the app or a recovery code to turn it off." | "無効にするには、アプリのコードまたは回復コードを入力してください。";
    CODES_LEFT = "recovery codes left" | "回復コードの残り";
    RECOVERY = "Recovery codes" | "回復コード";
    RECOVERY_WHY = "Each of them opens your account once when your phone is not at hand. They are shown only now: keep them where your phone is not." | "スマートフォンが手元にないとき、各コードで一度だけサインインできます。表示は今だけです。別の場所に保管してください。";

    OVERVIEW = "Overview" | "概要";
    OVERVIEW_WHY = "This site at a glance." | "この拠点の状況です。";
    OTHER_SITES = "Other sites" | "ほかの拠点";
    RELAYS_OPEN = "Relays under way" | "進行中の転送";
    FAILED_PCS = "PCs that stopped with an error" | "エラーで止まったPC";
    OBJECTS = "Sealed objects" | "封印された項目";
    PIECES = "pieces" | "個";
    SITE_ID = "Site ID" | "拠点ID";
    METER = "Against full mirroring" | "全複製との比較";
    METER_WHY = "All sites together, as they last said: what was really moved and kept, of what it would be if every snapshot went to every site." | "全拠点の合計（各拠点の最新の報告）。実際の量 / すべてのスナップショットを全拠点に複製した場合の量です。";
    METER_MOVED = "Moved between sites" | "拠点間の転送量";
    METER_STORED = "Stored" | "保存量";
    METER_REQUESTS = "Requests between sites" | "拠点間の要求数";

    USERS = "Users" | "利用者";
    USERS_WHY = "Everybody with an environment, at whatever site." | "環境を持つ利用者（全拠点共通）です。";
    USER = "User" | "利用者";
    USER_WHY = "Cards, copies and sign-ins. What is in the snapshots nobody here can read." | "カード、コピー、サインインの状況です。スナップショットの中身は、この拠点では読めません。";
    USER_ID = "User ID" | "利用者ID";
    SEARCH = "Search by name" | "名前で検索";
    SEARCH_BUTTON = "Search" | "検索";
    ACTIVE = "active" | "有効";
    DISABLED = "disabled" | "停止中";
    CARDS = "Cards" | "カード";
    CARD = "Card" | "カード";
    REVOKED = "revoked" | "失効";
    GOOD = "good" | "有効";
    LAST_SAVED = "Last saved" | "最後の保存";
    QUOTA = "Quota" | "容量の上限";
    USED = "Used here" | "この拠点の使用量";
    SNAPSHOT = "Newest snapshot" | "最新のスナップショット";
    COPY_HERE = "Copy here" | "この拠点のコピー";
    NEXT_SITES = "Next sites" | "次に使う拠点";
    SESSIONS = "Sign-ins" | "サインイン中";
    K_PORTAL = "portal" | "ポータル";
    K_DELIVERY = "delivery of a saved snapshot" | "保存済みスナップショットの送信";
    K_CODE = "portal, code awaited" | "ポータル（コード待ち）";
    SET_QUOTA = "Set the quota" | "上限を設定";
    SET_QUOTA_WHY = "How many sealed bytes the user may keep at this site. Empty: as the policy says." | "この拠点に保存できる容量です。空欄なら方針に従います。";
    BYTES = "Bytes" | "バイト数";
    RECOVER = "Give a recovery code" | "再設定コードを発行";
    RECOVER_WHY = "With it the user chooses a new password, once, within a day." | "利用者が新しいパスワードを一度だけ設定できます（1日有効）。";
    RESET_STEP = "Turn the second step off" | "二段階の確認を解除";
    RESET_STEP_WHY = "For who lost phone and recovery codes: the password alone signs in then." | "スマートフォンと回復コードを失った場合に使います。以後はパスワードだけでサインインできます。";
    DISABLE = "Disable" | "停止する";
    DISABLE_WHY = "Refuses sign-ins at every site and ends those there are. Nothing is deleted." | "全拠点でサインインを拒否し、使用中のサインインも終了します。データは消えません。";
    ENABLE = "Enable" | "再開する";
    ENABLE_WHY = "Lets the user sign in again, at every site." | "全拠点で再びサインインできるようにします。";
    REMOVE = "Remove" | "削除する";
    REMOVE_WHY = "The user is out at every site and for ever. Sealed snapshots that stay open for nobody." | "利用者を全拠点から永久に削除します。残ったスナップショットは、だれにも開けません。";
    REVOKE = "Revoke" | "失効させる";
    REVOKE_CARD_WHY = "The card opens nothing any more, at every site, and what was opened with it ends." | "カードは全拠点で使えなくなり、そのカードでのサインインも終了します。";
    ADD_USER = "Add a user" | "利用者を追加";
    ADD_USER_WHY = "The station that issued the card wrote a registration. The answer is an invitation code, with which the user chooses a password." | "カードを発行した端末が書き出した登録情報を貼り付けてください。利用者がパスワードを設定するための招待コードが発行されます。";
    REPLACE = "Replace the cards" | "カードを入れ替える";
    REPLACE_WHY = "A new registration of a known user. The password stays." | "登録済みの利用者の新しい登録情報です。パスワードは変わりません。";
    REGISTRATION = "Registration (JSON of card issue)" | "登録情報（card issue の JSON）";

    INVITATIONS = "Invitations" | "招待";
    INVITATIONS_WHY = "Codes with which users choose a password, and what became of each." | "利用者がパスワードを設定するためのコードと、その状況です。";
    INVITATION = "Invitation code" | "招待コード";
    INVITATION_CODE = "Give this code to the user, who chooses a password with it at the portal within two weeks. It is shown only now." | "このコードを利用者に渡してください。2週間以内にポータルでパスワードを設定できます。表示は今だけです。";
    NOT_USED = "not used yet" | "未使用";
    USED_UP = "used" | "使用済み";
    TAKEN_BACK = "withdrawn" | "取り消し済み";
    EXPIRED = "expired" | "期限切れ";
    MADE = "Made" | "発行";
    GOOD_UNTIL = "Good until" | "有効期限";
    TAKE_BACK = "Withdraw" | "取り消す";
    CODE = "Give this code to the user. It is shown only now." | "このコードを利用者に渡してください。表示は今だけです。";

    SITES = "Sites" | "拠点";
    SITES_WHY = "The other sites, and how the talk with each goes." | "ほかの拠点と、通信の状況です。";
    SITE = "Site" | "拠点";
    THIS_SITE = "This site" | "この拠点";
    EXCHANGE = "Last exchange" | "最後の交換";
    WAITING = "Records waiting" | "送信待ちの記録";
    ANSWERS = "answers" | "正常";
    EXPEL = "Expel" | "除名する";
    EXPEL_WHY = "The site is out at every site and for ever. It comes back only as a new one." | "この拠点は全拠点から永久に除名されます。戻すには新しい拠点として作り直します。";

    PCS = "PCs" | "PC";
    PCS_WHY = "What each shared PC was seen doing last." | "共用PCの最後に確認された状況です。";
    PC = "PC" | "PC";
    STAGE = "Stage" | "段階";
    SEEN = "Last seen" | "最後の確認";
    KEY = "Key" | "鍵";
    ENROLLED = "enrolled" | "登録済み";
    NOT_ENROLLED = "not enrolled" | "未登録";
    PROVEN = "signed" | "署名あり";
    CLAIMED = "claimed" | "自己申告";
    ENROL = "Enrol a PC" | "PCを登録";
    ENROL_WHY = "An enrolled PC signs what it says of itself." | "登録したPCは、自分の状況に署名します。";
    KEY_HEX = "Ed25519 public key, 64 hex digits" | "Ed25519 公開鍵（16進64桁）";
    REVOKE_PC_WHY = "Nothing this PC says is believed any more until it is enrolled with another key." | "別の鍵で登録し直すまで、このPCの報告は信用されません。";

    RELAYS = "Relays" | "転送";
    RELAYS_WHY = "Snapshots on their way to this site." | "この拠点へ転送中のスナップショットです。";
    FROM = "From" | "転送元";
    PROGRESS = "Progress" | "進み具合";

    RELEASES = "Releases" | "リリース";
    RELEASES_WHY = "Baselines PCs can return to, and the one they start." | "PCが復元に使うリリースと、起動する版です。";
    RELEASE = "Release" | "リリースID";
    BUILT = "Built" | "ビルド日時";
    STARTED = "PCs start this one" | "起動する版";
    LISTED = "listed" | "公開中";
    START = "Start this one" | "この版で起動";
    START_NEWEST = "Start the newest" | "最新の版で起動";
    START_NEWEST_WHY = "PCs start the newest release again, whichever that is." | "今後は常に最新のリリースで起動します。";
    WITHDRAW = "Withdraw" | "取り下げる";
    WITHDRAW_WHY = "No PC is offered this release any more." | "このリリースはPCに配布されなくなります。";

    POLICIES = "Policies" | "方針";
    POLICIES_WHY = "What holds at this site." | "この拠点で有効な設定です。";
    NOT_SET = "default" | "既定値";
    ANY_TIME = "at any time" | "終日";
    YES_ALLOWED = "yes" | "転送する";
    NO_REFUSED = "no" | "転送しない";
    P_QUOTA = "Quota of a user" | "利用者ごとの容量";
    P_QUOTA_WHY = "Bytes a user may keep at this site. Empty: no limit." | "利用者がこの拠点に保存できるバイト数です。空欄なら上限なし。";
    P_WALK_IN = "Users who come unannounced" | "予告なしの利用者";
    P_WALK_IN_WHY = "Whether their snapshot is fetched when they sit down." | "着席したときにスナップショットを転送するかどうかです。";
    P_REGISTER = "Registration at a PC" | "PCでの利用者登録";
    P_REGISTER_WHY = "Whether somebody with a card nobody knows may register at a PC of this site. Default: no." | "未登録のカードを持つ人が、この拠点のPCで利用者登録できるかどうかです。既定では登録できません。";
    YES_OPEN = "yes" | "登録できる";
    NO_CLOSED = "no" | "登録できない";
    P_PASSPHRASES = "Sign-in with a passphrase" | "パスフレーズでのサインイン";
    P_PASSPHRASES_WHY = "Whether people without a card may sign in at a PC of this site with a passphrase. Default: no." | "カードのない人が、この拠点のPCでパスフレーズを使ってサインインできるかどうかです。既定ではカードだけです。";
    YES_TAKEN = "yes" | "パスフレーズも使える";
    NO_CARDS = "no, cards only" | "カードだけ";
    P_WINDOW = "Hours for relays" | "転送の時間帯";
    P_WINDOW_WHY = "HH:MM-HH:MM by this site's clock. Who sits at a PC and waits is served at any time. Empty: at any time." | "HH:MM-HH:MM（この拠点の時刻）。着席して待つ利用者には常に転送します。空欄なら終日。";
    P_RATE = "Bandwidth for relays" | "転送の帯域";
    P_RATE_WHY = "Bytes a second, all relays together. Empty: no limit." | "すべての転送の合計（バイト毎秒）。空欄なら上限なし。";
    P_DROP = "Unused copies" | "使わないコピー";
    P_DROP_WHY = "Days after which a copy nobody used here is dropped; another site has it. Empty: never." | "使われないコピーを消すまでの日数です（ほかの拠点にある場合のみ）。空欄なら消しません。";
    P_NEWEST = "Newest snapshots kept" | "残す最新のスナップショット数";
    P_NEWEST_WHY = "Of each user, 1 to 1000. Empty: as site.toml says." | "利用者ごとの数（1〜1000）。空欄なら site.toml に従います。";
    P_DAYS = "Daily snapshots kept" | "日ごとのスナップショット";
    P_DAYS_WHY = "Of how many past days the last snapshot stays besides those, 0 to 3650. Empty: as site.toml says." | "過去何日分の、各日の最後のスナップショットを残すか（0〜3650）。空欄なら site.toml に従います。";

    AUDIT = "Audit log" | "監査ログ";
    AUDIT_WHY = "Who did what. Nothing in it can be changed unseen." | "だれが何をしたかの記録です。気付かれずに書き換えることはできません。";
    NUMBER = "No." | "番号";
    WHEN = "When" | "日時";
    WHO = "Who" | "だれが";
    WHAT = "What" | "何を";
    SUBJECT = "To whom or what" | "対象";
    FILTER = "Filter" | "絞り込む";
    EXPORT = "Download the whole log" | "ログ全体をダウンロード";

    STAFF = "Staff" | "担当者";
    STAFF_WHY = "Accounts for this desk, at this site alone." | "この拠点の管理画面を使う人です。";
    ROLE_OPERATOR = "operator" | "運用者";
    ROLE_HELP_DESK = "help desk" | "ヘルプデスク";
    ROLE_AUDITOR = "auditor" | "監査人";
    ROLE_USER = "user" | "利用者";
    ADD_STAFF = "Add staff" | "担当者を追加";
    ADD_STAFF_WHY = "A password is made and shown once; its owner changes it at the first sign-in under My account." | "パスワードが自動で作られ、一度だけ表示されます。本人が「自分のアカウント」で変更します。";
    STAFF_NAME_HINT = "1 to 64 of a-z, 0-9, . _ -, a letter first" | "英小文字で始まる1〜64文字（a-z、0-9、. _ -）";
    SET_ROLE = "Set the role" | "役割を変更";
    NEW_PASSWORD = "New password" | "新しいパスワード";
    STAFF_PASSWORD = "Give this password to its owner, who changes it under My account. It is shown only now." | "このパスワードを本人に渡してください。本人が「自分のアカウント」で変更します。表示は今だけです。";

    CONFIRM = "This cannot be taken back." | "この操作は取り消せません。";
    CONFIRM_TYPE = "Type the name above to go on" | "続けるには上の名前を入力してください";
    GO_ON = "Do it" | "実行する";
    SURE = "Are you sure?" | "よろしいですか。";

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
