//! The BPF programs that the kernel has loaded, for whomever.

use aya::programs::loaded_programs;

/// What the program with this number is called by who loaded it; none where there is none, or we may not know.
pub fn name(id: u32) -> Option<String> {
    let program = loaded_programs().flatten().find(|program| program.id() == id)?;
    program.name_as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_program_has_the_number_zero() {
        assert_eq!(name(0), None);
    }
}
