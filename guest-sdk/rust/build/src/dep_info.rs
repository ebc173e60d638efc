//! The list of inputs that cargo writes beside what it built, in the manner of a makefile.

use std::path::PathBuf;

/// The files behind the colon of the first rule. A blank within a name is written `\ `.
pub(crate) fn parse(text: &str) -> Vec<PathBuf> {
    let rule = text.lines().next().unwrap_or_default();
    let Some((_, files)) = rule.split_once(": ") else { return Vec::new() };
    let mut names = vec![String::new()];
    let mut characters = files.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' => names.push(String::new()),
            '\\' if characters.peek() == Some(&' ') => {
                characters.next();
                push(&mut names, ' ');
            }
            other => push(&mut names, other),
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

fn push(names: &mut [String], character: char) {
    if let Some(name) = names.last_mut() {
        name.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_names_are_kept() {
        let text = "/t/a.wasm: /w/my\\ rules/lib.rs /w/wit/rule.wit\n\n/t/b: /w/other\n";
        assert_eq!(parse(text), [PathBuf::from("/w/my rules/lib.rs"), PathBuf::from("/w/wit/rule.wit")]);
        assert_eq!(parse("/t/a.wasm:\n"), Vec::<PathBuf>::new());
    }
}
