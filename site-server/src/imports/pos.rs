//! Parts of speech: what Mozc, MS-IME and ATOK call them → Mozc's names.

/// Mozc's names (user_dictionary_storage.proto), in its order.
const MOZC: [&str; 45] = [
    "名詞",
    "短縮よみ",
    "サジェストのみ",
    "固有名詞",
    "人名",
    "姓",
    "名",
    "組織",
    "地名",
    "名詞サ変",
    "名詞形動",
    "数",
    "アルファベット",
    "記号",
    "顔文字",
    "副詞",
    "連体詞",
    "接続詞",
    "感動詞",
    "接頭語",
    "助数詞",
    "接尾一般",
    "接尾人名",
    "接尾地名",
    "動詞ワ行五段",
    "動詞カ行五段",
    "動詞サ行五段",
    "動詞タ行五段",
    "動詞ナ行五段",
    "動詞マ行五段",
    "動詞ラ行五段",
    "動詞ガ行五段",
    "動詞バ行五段",
    "動詞ハ行四段",
    "動詞一段",
    "動詞カ変",
    "動詞サ変",
    "動詞ザ変",
    "動詞ラ変",
    "形容詞",
    "終助詞",
    "句読点",
    "独立語",
    "抑制単語",
    "品詞なし",
];

/// Names of other programs.
const OTHERS: [(&str, &str); 34] = [
    ("普通名詞", "名詞"),
    ("一般名詞", "名詞"),
    ("サ変名詞", "名詞サ変"),
    ("名サ形動", "名詞サ変"),
    ("名詞サ形動", "名詞サ変"),
    ("形動名詞", "名詞形動"),
    ("形容動詞", "名詞形動"),
    ("形動", "名詞形動"),
    ("さ変名詞", "名詞サ変"),
    ("さ変形動名詞", "名詞サ変"),
    ("固有一般", "固有名詞"),
    ("固有名詞一般", "固有名詞"),
    ("固有人名", "人名"),
    ("固有人姓", "姓"),
    ("固有人他", "人名"),
    ("固有地名", "地名"),
    ("固有組織", "組織"),
    ("固有商品", "固有名詞"),
    ("人名姓", "姓"),
    ("人名名", "名"),
    ("地名その他", "地名"),
    ("駅名", "地名"),
    ("社名", "組織"),
    ("会社名", "組織"),
    ("単漢字", "名詞"),
    ("慣用句", "独立語"),
    ("冠数詞", "接頭語"),
    ("接頭辞", "接頭語"),
    ("接尾語", "接尾一般"),
    ("数詞", "数"),
    ("ラテン語", "アルファベット"),
    ("短縮読み", "短縮よみ"),
    ("ワ行五段", "動詞ワ行五段"),
    ("一段動詞", "動詞一段"),
];

/// Mozc's name of a part of speech, and whether it was known. What is not known becomes a noun. ATOK marks words it
/// registered itself with `$` or `*` after the name.
pub(super) fn normal(name: &str) -> (&'static str, bool) {
    let name = name.trim().trim_end_matches(['$', '*']);
    if name.is_empty() {
        return ("名詞", true);
    }
    if let Some(known) = MOZC.iter().find(|known| **known == name) {
        return (known, true);
    }
    if let Some((_, known)) = OTHERS.iter().find(|(other, _)| *other == name) {
        return (known, true);
    }
    // ATOK: "カ行五段", MS-IME: "カ行五段"; Mozc says "動詞" before.
    let verb = MOZC
        .iter()
        .find(|known| known.strip_prefix("動詞") == Some(name));
    verb.map_or(("名詞", false), |known| (known, true))
}
