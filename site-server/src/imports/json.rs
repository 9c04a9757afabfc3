//! Bookmarks as JSON: Firefox's backup, Chromium's file of a profile.

use serde_json::Value;

use super::{Reason, Refused, bookmarks::Tree};

const CHROMIUM_ROOTS: [&str; 3] = ["bookmark_bar", "other", "synced"];

pub(super) fn read(text: &str) -> Result<Tree, Refused> {
    // serde_json stops at a depth of 128.
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Refused::at(error.line().max(1), Reason::Syntax))?;
    let mut tree = Tree::new();
    if let Some(roots) = value.get("roots").and_then(Value::as_object) {
        for root in CHROMIUM_ROOTS.iter().filter_map(|name| roots.get(*name)) {
            let children = root.get("children").and_then(Value::as_array);
            for child in children.into_iter().flatten() {
                walk(&mut tree, child)?;
            }
        }
    } else if value.get("children").is_some() {
        for root in children(&value) {
            // Menu, toolbar, other, mobile: folders of the browser.
            for child in children(root) {
                walk(&mut tree, child)?;
            }
        }
    } else {
        return Err(Refused::whole(Reason::UnknownFormat));
    }
    Ok(tree)
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let list = value.get("children").and_then(Value::as_array);
    list.into_iter().flatten()
}

fn walk(tree: &mut Tree, value: &Value) -> Result<(), Refused> {
    let text = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| value.get(*name)?.as_str());
        found.unwrap_or_default()
    };
    let title = text(["title", "name"]);
    if value.get("children").is_some() {
        tree.enter(None, title)?;
        for child in children(value) {
            walk(tree, child)?;
        }
        tree.leave();
        return Ok(());
    }
    match text(["uri", "url"]) {
        // A separator.
        "" => Ok(()),
        url => tree.page(None, title, url),
    }
}
