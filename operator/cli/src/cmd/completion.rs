//! `completion`: scripts for shells.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::exit::Code;

#[derive(Args)]
pub struct Flags {
    /// bash, zsh, fish, powershell or elvish.
    shell: Shell,
}

impl Flags {
    pub fn run(&self) -> anyhow::Result<Code> {
        let mut program = crate::Program::command();
        clap_complete::generate(self.shell, &mut program, "ironsail", &mut std::io::stdout());
        Ok(Code::Ok)
    }
}
