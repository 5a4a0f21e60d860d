//! The model's tensors as training sees them: what the optimiser moves, and what follows from it.
//!
//! The model computes with *effective* tensors. In full fine-tuning the optimiser's parameters are those
//! themselves; with adapters an effective projection is `W + (alpha / rank) B A`, and what the optimiser moves is
//! A and B. The effective tensors are written once a step, and gradients of them are turned into gradients of A
//! and B by the chain rule, so that the cost of adapters does not grow with the tokens of a batch.

use std::ops::Range;

use ptb_model::{Checkpoint, Config, Joined, ModelError, TensorRole, expected_tensors};
use rayon::prelude::*;

use crate::draw::{Draw, Stream};
use crate::settings::Method;

/// What the optimiser moves.
#[derive(Debug, Clone)]
pub(crate) struct Param {
    /// Unique; the tensor's name, with `.lora_A` or `.lora_B` for adapters.
    pub(crate) name: String,
    /// Row by row.
    pub(crate) values: Vec<f32>,
    /// Whether weight decay applies: to projections and adapters, not to norms and embeddings.
    pub(crate) decay: bool,
}

/// Gradients of all parameters, one after the other.
#[derive(Debug)]
pub(crate) struct Gradients {
    all: Vec<f32>,
    places: Vec<Range<usize>>,
}

impl Gradients {
    /// Each parameter's gradient, in the parameters' order.
    pub(crate) fn each(&self) -> Vec<&[f32]> {
        self.places.iter().map(|place| &self.all[place.clone()]).collect()
    }
}

/// A tensor that the model computes with and that is trained.
#[derive(Debug)]
struct Effective {
    /// Where it lies among all of the model's values.
    place: Range<usize>,
    columns: usize,
    /// The frozen part, when an adapter is trained beside it.
    frozen: Option<Vec<f32>>,
}

/// All tensors of a model in training.
#[derive(Debug)]
pub(crate) struct Weights {
    /// In a fixed order: one for each effective tensor, or A and B one after the other.
    pub(crate) params: Vec<Param>,
    effective: Vec<Effective>,
    /// Rank, and what the adapters' product is multiplied by.
    adapter: Option<(usize, f32)>,
    /// All tensors as the model computes with them.
    joined: Joined,
}

fn is_projection(role: TensorRole) -> bool {
    !role.is_norm() && !matches!(role, TensorRole::Embedding | TensorRole::Head)
}

impl Weights {
    /// Reads a base model.
    pub(crate) fn load(
        config: &Config,
        checkpoint: &Checkpoint,
        method: Method,
        seed: u64,
    ) -> Result<Self, ModelError> {
        let joined = Joined::read(config, checkpoint)?;
        let adapter = match method {
            Method::Full => None,
            Method::Lora { rank, alpha } => Some((rank, (alpha / rank as f64) as f32)),
        };
        let (mut params, mut effective) = (Vec::new(), Vec::new());
        let expected = expected_tensors(config).into_iter().zip(joined.ranges());
        for ((role, name, shape), (_, place)) in expected {
            let values = joined.values()[place.clone()].to_vec();
            let columns = shape.last().copied().unwrap_or(1).max(1);
            let rows = values.len() / columns;
            let frozen = match adapter {
                None => {
                    let decay = is_projection(role) || role == TensorRole::Head;
                    params.push(Param { name, values, decay });
                    None
                }
                Some((rank, _)) if is_projection(role) => {
                    let stream = Stream::Adapter(u32::try_from(effective.len()).unwrap_or(0));
                    params.extend(adapters(&name, rank, rows, columns, Draw::new(seed, stream)));
                    Some(values)
                }
                Some(_) => continue,
            };
            effective.push(Effective { place: place.clone(), columns, frozen });
        }
        Ok(Self { params, effective, adapter, joined })
    }

    /// What loss and gradient are computed with.
    pub(crate) fn joined(&self) -> &Joined {
        &self.joined
    }

    /// Number of values that are trained.
    pub(crate) fn trained(&self) -> usize {
        self.params.iter().map(|p| p.values.len()).sum()
    }

    /// Gradients of the parameters from those of all of the model's values.
    pub(crate) fn pull_back(&self, all: Vec<f32>) -> Gradients {
        let Some((rank, scale)) = self.adapter else {
            let places = self.effective.iter().map(|e| e.place.clone()).collect();
            return Gradients { all, places };
        };
        let pairs = self.effective.par_iter().zip(self.params.par_chunks(2));
        let pulled = pairs.map(|(effective, pair)| {
            let [a, b] = pair else { return Vec::new() };
            let columns = effective.columns;
            let (mut of_a, mut of_b) = (vec![0.0; a.values.len()], vec![0.0; b.values.len()]);
            for (i, row) in all[effective.place.clone()].chunks_exact(columns).enumerate() {
                for r in 0..rank {
                    let a_row = &a.values[r * columns..][..columns];
                    let dot: f32 = row.iter().zip(a_row).map(|(g, a)| g * a).sum();
                    of_b[i * rank + r] = scale * dot;
                    let factor = scale * b.values[i * rank + r];
                    let into = &mut of_a[r * columns..][..columns];
                    into.iter_mut().zip(row).for_each(|(into, g)| *into += factor * g);
                }
            }
            of_a.extend(of_b);
            of_a
        });
        let all: Vec<f32> = pulled.collect::<Vec<_>>().concat();
        let mut end = 0;
        let places = self.params.iter().map(|param| {
            let begin = end;
            end += param.values.len();
            begin..end
        });
        Gradients { places: places.collect(), all }
    }

    /// Writes the effective tensors anew after the parameters have changed.
    pub(crate) fn publish(&mut self) {
        let (params, adapter) = (&self.params, self.adapter);
        let mut rest = self.joined.values_mut();
        let mut end = 0;
        let mut tensors = Vec::with_capacity(self.effective.len());
        for Effective { place, .. } in &self.effective {
            let (tensor, after) = rest.split_at_mut(place.end - end);
            tensors.push(&mut tensor[place.start - end..]);
            (rest, end) = (after, place.end);
        }
        let all = tensors.into_par_iter().zip(&self.effective).enumerate();
        all.for_each(|(i, (tensor, effective))| match (&effective.frozen, adapter) {
            (Some(frozen), Some(adapter)) => {
                tensor.copy_from_slice(frozen);
                let (a, b) = (&params[2 * i].values, &params[2 * i + 1].values);
                merge(tensor, effective.columns, adapter, a, b);
            }
            _ => tensor.copy_from_slice(&params[i].values),
        });
    }

    /// An effective tensor's values, for saving.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, String> {
        let place = self.joined.ranges().iter().find(|(known, _)| known == name);
        let (_, place) = place.ok_or_else(|| format!("tensor {name} is missing"))?;
        Ok(self.joined.values()[place.clone()].to_vec())
    }
}

/// Adds `scale B A` to the rows of a tensor.
fn merge(tensor: &mut [f32], columns: usize, (rank, scale): (usize, f32), a: &[f32], b: &[f32]) {
    let mut delta = vec![0.0; columns];
    for (i, row) in tensor.chunks_exact_mut(columns).enumerate() {
        delta.fill(0.0);
        for r in 0..rank {
            let factor = scale * b[i * rank + r];
            let a_row = &a[r * columns..][..columns];
            delta.iter_mut().zip(a_row).for_each(|(d, a)| *d += factor * a);
        }
        // Adding zero would turn -0 into 0, and an adapter that has learnt nothing changes no bit.
        let changed = row.iter_mut().zip(&delta).filter(|(_, d)| **d != 0.0);
        changed.for_each(|(w, d)| *w += d);
    }
}

/// A small and random, B zero: the product is zero at first (as in the paper).
fn adapters(name: &str, rank: usize, rows: usize, columns: usize, mut draw: Draw) -> [Param; 2] {
    let bound = (3.0 / columns as f32).sqrt();
    let a = (0..rank * columns).map(|_| bound * draw.unit()).collect();
    let param = |suffix, values| Param { name: format!("{name}.{suffix}"), values, decay: true };
    [param("lora_A", a), param("lora_B", vec![0.0; rows * rank])]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gradient::batch_gradient;
    use candle_core::{DType, Device, Tensor, Var};
    use ptb_model::{ModelDir, Qwen3, RandomModel, random_model};

    fn base() -> (Config, Checkpoint) {
        let home = tempfile::tempdir().unwrap();
        random_model(home.path(), &RandomModel::mini(2)).unwrap();
        let dir = ModelDir::open(home.path()).unwrap();
        (Config::read(&dir).unwrap(), Checkpoint::open(&dir).unwrap())
    }

    fn weights(method: Method) -> Weights {
        let (config, checkpoint) = base();
        Weights::load(&config, &checkpoint, method, 5).unwrap()
    }

    const ROWS: [&str; 4] = ["three blind mice", "see how they run", "they all", "ran"];

    /// With adapters beside which B is not zero, as it is at first and A has no gradient.
    fn moved(method: Method) -> Weights {
        let mut weights = weights(method);
        let mut draw = Draw::new(9, Stream::Questions);
        for param in weights.params.iter_mut().filter(|p| p.name.ends_with("lora_B")) {
            param.values.iter_mut().for_each(|v| *v = 0.2 * draw.unit());
        }
        weights.publish();
        weights
    }

    /// The loss of a small batch, and its gradient by the parameters.
    fn loss(weights: &Weights) -> (f64, Gradients) {
        let examples = ROWS.map(|text| {
            let ids: Vec<u32> = text.bytes().map(u32::from).collect();
            crate::data::Example { learn: vec![true; ids.len()], ids }
        });
        let shards = crate::batch::shards(&examples, &[0, 1, 2, 3]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let sums = batch_gradient(&pool, weights, &shards).unwrap();
        (sums.loss, weights.pull_back(sums.gradient))
    }

    /// Along each parameter's own gradient the loss must rise by the gradient's norm.
    #[test]
    fn gradients_of_parameters_agree_with_finite_differences() {
        for method in [Method::Full, Method::Lora { rank: 3, alpha: 4.0 }] {
            let mut weights = moved(method);
            let (_, gradients) = loss(&weights);
            let gradients = gradients.each();
            assert_eq!(gradients.len(), weights.params.len());
            for (i, gradient) in gradients.iter().enumerate() {
                let name = weights.params[i].name.clone();
                let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                assert!(norm > 1e-4, "{name}: the gradient vanishes");
                let start = weights.params[i].values.clone();
                let mut at = |step: f64| {
                    let moved =
                        start.iter().zip(*gradient).map(|(v, g)| v + (step / norm) as f32 * g);
                    weights.params[i].values = moved.collect();
                    weights.publish();
                    loss(&weights).0
                };
                let step = 4e-3;
                let slope = (at(step) - at(-step)) / (2.0 * step);
                at(0.0);
                assert!((slope - norm).abs() < 0.03 * norm + 5e-3, "{name}: {slope} {norm}");
            }
        }
    }

    /// The chain rule written out, against the tensor library's way back through `W + s B A`.
    #[test]
    fn gradients_of_adapters_are_those_through_the_merged_tensors() {
        let weights = moved(Method::Lora { rank: 3, alpha: 4.0 });
        let (config, checkpoint) = base();
        let mut tensors = BTreeMap::new();
        let mut vars = Vec::new();
        for (_, name, shape) in expected_tensors(&config) {
            let values = checkpoint.read_f32(&name).unwrap();
            let mut tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            let mut adapter = |suffix: &str, shape: (usize, usize)| {
                let name = format!("{name}.{suffix}");
                let param = weights.params.iter().find(|p| p.name == name)?;
                let var = Var::from_slice(&param.values, shape, &Device::Cpu).unwrap();
                vars.push(var.clone());
                Some(var)
            };
            if let Ok((rows, columns)) = tensor.dims2()
                && let Some(a) = adapter("lora_A", (3, columns))
            {
                let b = adapter("lora_B", (rows, 3)).unwrap();
                let product = b.matmul(&a).unwrap().affine(4.0 / 3.0, 0.0).unwrap();
                tensor = (tensor + product).unwrap();
            }
            tensors.insert(name, tensor);
        }
        let model = Qwen3::over(config, tensors).unwrap();
        let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
        for row in ROWS {
            let ids: Vec<u32> = row.bytes().map(u32::from).collect();
            let next = ids[1..].iter().map(|id| i64::from(*id)).chain([-1]);
            let targets: Vec<i64> = next.collect();
            let ids = Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).unwrap();
            sum = (sum + model.loss(&ids, &targets).unwrap()).unwrap();
        }
        let back = sum.backward().unwrap();
        let (ours, gradients) = loss(&weights);
        assert!((ours - f64::from(sum.to_scalar::<f32>().unwrap())).abs() < 1e-3, "{ours}");
        assert_eq!(vars.len(), weights.params.len());
        for ((param, ours), var) in weights.params.iter().zip(gradients.each()).zip(&vars) {
            let theirs = back.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let size = theirs.iter().fold(0.0_f32, |size, g| size.max(g.abs()));
            assert!(size > 1e-4 && ours.len() == theirs.len(), "{}: {size}", param.name);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!((ours - theirs).abs() < 1e-3 * size, "{}: {ours} {theirs}", param.name);
            }
        }
    }

    #[test]
    fn adapters_begin_without_effect_and_names_are_unique() {
        let (full, mut lora) =
            (weights(Method::Full), weights(Method::Lora { rank: 3, alpha: 4.0 }));
        lora.publish();
        assert_eq!(full.joined.values(), lora.joined.values());
        let names: std::collections::HashSet<&str> =
            lora.params.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names.len(), lora.params.len());
        assert!(lora.params.iter().all(|p| p.decay));
        let decayed = |p: &&Param| p.decay;
        assert!(full.params.iter().filter(decayed).all(|p| p.name.contains("_proj")));
        assert_eq!(full.params.iter().filter(decayed).count(), 14);
    }
}
