fn main() -> std::process::ExitCode {
    sentrail::cli::main()
}
