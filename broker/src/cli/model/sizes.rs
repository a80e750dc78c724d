//! Sizes for axes that a model leaves open, and the rows that a run of it has.

use clap::Args;
use embermq_inference::{Dim, Network, Port, Sizes, ValueType};

use super::{Failure, one_line};

/// Sizes for axes that a model leaves open.
#[derive(Args, Clone, Debug)]
pub(super) struct Dims {
    /// Size of an axis that the model has a name for; can be repeated [default: 1]
    #[arg(long = "dim", value_name = "NAME=SIZE", value_parser = named_size)]
    dims: Vec<(String, usize)>,
}

impl Dims {
    pub(super) const fn is_empty(&self) -> bool {
        self.dims.is_empty()
    }

    pub(super) fn sizes(&self, batch: Option<usize>) -> Sizes {
        Sizes { named: self.dims.iter().cloned().collect(), batch }
    }

    /// Refuses names that no axis of the model has: a size that is not used would be taken for one that is.
    pub(super) fn check(&self, network: &Network) -> Result<(), Failure> {
        self.check_ports(network.inputs())
    }

    fn check_ports(&self, ports: &[Port]) -> Result<(), Failure> {
        let mut names: Vec<&str> = Vec::new();
        for dim in ports.iter().filter_map(dims_of).flatten() {
            if let Dim::Named(name) = dim
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        let Some((unknown, _)) = self.dims.iter().find(|(name, _)| !names.contains(&name.as_str()))
        else {
            return Ok(());
        };
        let those = if names.is_empty() {
            "none of its axes has a name".to_owned()
        } else {
            format!("its axes with names are {}", names.join(", "))
        };
        Err(Failure::usage(one_line(&format!(
            "--dim {unknown}: the model has no axis of that name; {those}"
        ))))
    }

    /// The rows of a run, which lie along the first axis. `asked`: what `--batch` says.
    pub(super) fn rows(&self, network: &Network, asked: Option<usize>) -> Result<usize, Failure> {
        self.rows_of(network.inputs(), asked)
    }

    fn rows_of(&self, ports: &[Port], asked: Option<usize>) -> Result<usize, Failure> {
        let mut firsts = ports.iter().filter_map(|port| {
            let dims = dims_of(port)?;
            Some((port, dims.len(), dims.first()?))
        });
        let named = |dim: &Dim| match dim {
            Dim::Named(name) => self.dims.iter().rev().find(|(known, _)| known == name),
            _ => None,
        };
        // An axis that --dim has a size for is as fixed as one that the file has a size for.
        let of_dim = firsts.clone().find_map(|(_, _, dim)| named(dim));
        let refused = |asked: usize, why: String| {
            let what = format!("--batch {asked}: the model cannot take a batch of {asked}: {why}");
            Err(Failure::usage(one_line(&what)))
        };
        match (of_dim, asked) {
            (Some((name, size)), Some(asked)) if *size != asked => {
                return refused(asked, format!("--dim {name}={size} says another size"));
            }
            (Some((_, size)), _) => return Ok(*size),
            (None, _) => {}
        }
        if firsts.clone().any(|(_, _, dim)| !matches!(dim, Dim::Size(_))) {
            return Ok(asked.unwrap_or(1));
        }
        match (firsts.next(), asked) {
            // The only axis is as likely to be that of features.
            (Some((port, rank, Dim::Size(size))), asked) => {
                let rows = if rank > 1 { *size } else { 1 };
                match asked.filter(|asked| *asked != rows) {
                    Some(asked) => {
                        refused(asked, format!("input {:?} is {}", port.name, port.value_type))
                    }
                    None => Ok(rows),
                }
            }
            (_, Some(asked)) if asked > 1 => {
                refused(asked, "its inputs declare no first axis".to_owned())
            }
            _ => Ok(1),
        }
    }
}

fn dims_of(port: &Port) -> Option<&[Dim]> {
    match &port.value_type {
        ValueType::Tensor { dims, .. } => dims.as_deref(),
        _ => None,
    }
}

fn named_size(text: &str) -> Result<(String, usize), String> {
    let parts = text.split_once('=');
    let (name, size) = parts.ok_or("it should look like NAME=SIZE: --dim batch=8")?;
    let size = size.parse().map_err(|_| format!("{size:?} is no size"))?;
    Ok((name.to_owned(), size))
}

/// A number of something that there has to be.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it has to be 1 or more".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("{text:?} is no whole number")),
    }
}

/// The same of something that there can be only so many of.
pub(super) fn up_to(most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match at_least_one(text)? {
        count if count <= most => Ok(count),
        count => Err(format!("it is {count}; it can be 1 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embermq_inference::DType;

    fn port(dims: Vec<Dim>) -> Port {
        let value_type = ValueType::Tensor { dtype: Some(DType::F32), dims: Some(dims) };
        Port { name: "x".to_owned(), value_type }
    }

    fn dims(given: &[(&str, usize)]) -> Dims {
        Dims { dims: given.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect() }
    }

    fn told(failure: Failure) -> String {
        match failure {
            Failure::Told { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sizes_have_names() {
        assert_eq!(named_size("batch=8"), Ok(("batch".to_owned(), 8)));
        assert!(named_size("batch").is_err());
        assert!(named_size("batch=-1").is_err());
        assert_eq!(at_least_one("8"), Ok(8));
        assert!(at_least_one("0").is_err() && at_least_one("").is_err());
        assert_eq!(up_to(8)("8"), Ok(8));
        assert_eq!(up_to(8)("9"), Err("it is 9; it can be 1 to 8".to_owned()));
        assert!(up_to(8)("0").is_err());
    }

    #[test]
    fn names_that_the_model_has_not_are_refused() {
        let ports = [port(vec![Dim::Named("batch".to_owned()), Dim::Named("length".to_owned())])];
        assert!(dims(&[("length", 4)]).check_ports(&ports).is_ok());
        let refused = told(dims(&[("breadth", 4)]).check_ports(&ports).unwrap_err());
        assert!(refused.contains("are batch, length"), "{refused}");
        let refused = told(dims(&[("n", 4)]).check_ports(&[port(vec![Dim::Any])]).unwrap_err());
        assert!(refused.contains("none of its axes has a name"), "{refused}");
    }

    #[test]
    fn rows_are_those_that_a_run_has() {
        let open = [port(vec![Dim::Named("batch".to_owned()), Dim::Size(4)])];
        let fixed = [port(vec![Dim::Size(1), Dim::Size(4)])];
        let features = [port(vec![Dim::Size(4)])];
        let none = dims(&[]);
        assert_eq!(none.rows_of(&open, None).unwrap(), 1);
        assert_eq!(none.rows_of(&open, Some(16)).unwrap(), 16);
        assert_eq!(dims(&[("batch", 2)]).rows_of(&open, None).unwrap(), 2);
        assert_eq!(dims(&[("batch", 2)]).rows_of(&open, Some(2)).unwrap(), 2);
        assert_eq!(none.rows_of(&fixed, Some(1)).unwrap(), 1);
        assert_eq!(none.rows_of(&features, Some(1)).unwrap(), 1);
        assert_eq!(none.rows_of(&[], None).unwrap(), 1);
        let refused = told(none.rows_of(&fixed, Some(16)).unwrap_err());
        assert!(refused.contains("cannot take a batch of 16: input \"x\" is"), "{refused}");
        let refused = told(dims(&[("batch", 2)]).rows_of(&open, Some(4)).unwrap_err());
        assert!(refused.contains("--dim batch=2"), "{refused}");
        assert!(none.rows_of(&features, Some(4)).is_err());
    }
}
