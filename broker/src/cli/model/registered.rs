//! `embermq model push | list | alias | delete`: the models that a broker has.

use std::path::PathBuf;

use clap::Args;
use embermq_protocol::client::{Client, Model, ModelVersion};

use super::packed::Packed;
use super::{Console, Failure, Global, one_line};
use crate::cli::Output;
use crate::cli::remote::{block_on, client};
use crate::config::show_bytes;
use crate::models::{Alias, ModelName, Version};

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// An .onnx file, a tar archive, or a folder with a model.toml
    path: PathBuf,
    /// The model's name on the broker
    model: ModelName,
    /// The version; versions never change
    #[arg(id = "model-version", value_name = "VERSION")]
    version: Version,
    /// Let this alias mean the version as soon as it is there; can be repeated
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<Alias>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this model
    model: Option<ModelName>,
}

#[derive(Debug, Args)]
pub(crate) struct AliasTo {
    /// The model
    model: ModelName,
    /// The alias: champion is what stages use that name no other
    alias: Alias,
    /// What it is to mean
    #[arg(id = "model-version", value_name = "VERSION", required_unless_present = "remove")]
    version: Option<Version>,
    /// Take it away
    #[arg(long, conflicts_with = "model-version")]
    remove: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The model
    model: ModelName,
    /// The version
    #[arg(id = "model-version", value_name = "VERSION")]
    version: Version,
}

impl Push {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let client = client(global)?;
        let packed = Packed::of(&self.path)?;
        for skipped in packed.skipped() {
            let name = one_line(&skipped.display().to_string());
            console.remark(format!("left out, as its name begins with a dot: {name}"));
        }
        let digest = packed
            .digest()
            .map_err(|error| Failure::unavailable(format!("{}: {error}", self.path.display())))?;
        block_on(async {
            let (model, version) = (self.model.as_str(), self.version.as_str());
            let registered =
                client.register_model(model, version, packed.path(), Some(&digest)).await?;
            for alias in &self.aliases {
                client.set_model_alias(model, alias.as_str(), version).await?;
            }
            print_version(&registered, global.output, console)
        })?
    }
}

impl List {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let client = client(global)?;
        let models = block_on(self.models(&client))??;
        if models.is_empty() {
            console.remark("no models; `embermq model push PATH NAME VERSION` registers one");
        }
        for model in &models {
            print_model(model, global.output, console)?;
        }
        Ok(())
    }

    async fn models(&self, client: &Client) -> Result<Vec<Model>, Failure> {
        match &self.model {
            Some(model) => Ok(vec![client.model(model.as_str()).await?]),
            None => Ok(client.models().await?),
        }
    }
}

impl AliasTo {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let client = client(global)?;
        let (model, alias) = (self.model.as_str(), self.alias.as_str());
        block_on(async {
            match &self.version {
                Some(version) => client.set_model_alias(model, alias, version.as_str()).await?,
                None => client.remove_model_alias(model, alias).await?,
            }
            Ok::<(), Failure>(())
        })??;
        console.remark(match &self.version {
            Some(version) => format!("{model}@{alias} means version {version}"),
            None => format!("{model} has no alias {alias} any more"),
        });
        Ok(())
    }
}

impl Delete {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let client = client(global)?;
        let (model, version) = (self.model.as_str(), self.version.as_str());
        block_on(client.delete_model_version(model, version))??;
        console.remark(format!("deleted version {version} of {model}"));
        Ok(())
    }
}

fn print_version(
    version: &ModelVersion,
    output: Output,
    console: &mut Console,
) -> Result<(), Failure> {
    if output == Output::Json {
        return Ok(console.json(version)?);
    }
    let line = format!(
        "{}@{}  {}  {}",
        version.model,
        version.version,
        show_bytes(version.bytes),
        version.digest
    );
    Ok(console.line(one_line(&line))?)
}

fn print_model(model: &Model, output: Output, console: &mut Console) -> Result<(), Failure> {
    if output == Output::Json {
        return Ok(console.json(model)?);
    }
    for version in &model.versions {
        let aliases = model.aliases.iter().filter(|(_, meant)| **meant == version.version);
        let aliases: Vec<&str> = aliases.map(|(alias, _)| alias.as_str()).collect();
        let digest = version.digest.get(..19).unwrap_or(&version.digest);
        let line = format!(
            "{:<32} {:<12} {:>10}  {digest}  {}  {}",
            version.model,
            version.version,
            show_bytes(version.bytes),
            version.registered,
            aliases.join(", ")
        );
        console.line(one_line(line.trim_end()))?;
    }
    Ok(())
}
