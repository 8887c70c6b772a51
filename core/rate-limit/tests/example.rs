//! The README shows the example's output.

#[path = "../examples/limited_client.rs"]
#[expect(dead_code, reason = "its main is for `cargo run`")]
mod limited_client;

#[tokio::test(start_paused = true)]
async fn the_readme_shows_the_examples_output() -> Result<(), Box<dyn std::error::Error>> {
    let mut written = Vec::new();
    limited_client::run(&mut written).await?;
    let written = String::from_utf8(written)?;
    let shown = format!("```text\n{}\n```\n", written.trim_end());
    assert!(include_str!("../README.md").contains(&shown), "the README differs from:\n{written}");
    Ok(())
}
