//! Questions before something is changed.

use std::io::{BufRead, Write as _};

use anyhow::bail;

/// Asks, and goes on only if the answer is yes. No answer is no.
///
/// # Errors
/// The answer is not yes.
pub fn confirm(question: &str) -> anyhow::Result<()> {
    print!("{question} Proceed? (y/N) ");
    std::io::stdout().flush()?;
    if !is_yes(&mut std::io::stdin().lock())? {
        bail!("cancelled; -y answers yes");
    }
    Ok(())
}

fn is_yes(input: &mut impl BufRead) -> std::io::Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        let answered = |text: &str| is_yes(&mut text.as_bytes()).expect("readable");
        assert!(answered("y\n") && answered("Yes\n"));
        assert!(!answered("") && !answered("\n") && !answered("no\n") && !answered("yeah\n"));
    }
}
