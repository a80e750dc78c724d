//! A tensor in the CPU's memory: a shape, an element type, and elements in row-major order.
//!
//! Cloning shares the elements. The storage is that of burn's CPU backend, so a tensor becomes one of burn's, and comes back, without
//! a copy. Whoever holds the only clone can write in place ([`Tensor::make_mut`]). Memory that served another tensor before may be larger
//! than the elements, which lie at its front.

use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes as Storage};
use bytes::Bytes;
use embermq_kernels::{Buffer, Pages};

use crate::dtype::{DType, Element};
use crate::error::OpError;

/// Sizes per axis, outermost first. A scalar has none.
pub type Shape = Vec<usize>;

/// The number of elements of a shape. `None`: it does not fit a `usize`.
#[must_use]
pub fn elements_of(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the product zero, whatever the rest would overflow to.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
}

/// A tensor in memory.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    /// At least what shape and type take.
    Plain(Arc<Storage>),
    Strings(Arc<Vec<String>>),
}

impl Tensor {
    /// A tensor of the type that `T` plainly stands for.
    ///
    /// # Panics
    /// When the number of elements is not that of the shape: a mistake of the caller.
    pub(crate) fn new<T: Element>(shape: impl Into<Shape>, elements: Vec<T>) -> Self {
        Self::with_dtype(T::DTYPE, shape, elements)
    }

    /// A tensor of f32. `None`: the number of elements is not that of the shape.
    #[must_use]
    pub fn from_f32s(shape: Shape, elements: Vec<f32>) -> Option<Self> {
        (elements_of(&shape) == Some(elements.len())).then(|| Self::new(shape, elements))
    }

    /// A tensor of i64. `None`: the number of elements is not that of the shape.
    #[must_use]
    pub fn from_i64s(shape: Shape, elements: Vec<i64>) -> Option<Self> {
        (elements_of(&shape) == Some(elements.len())).then(|| Self::new(shape, elements))
    }

    /// A tensor from bytes as they lie in memory, little-endian on every machine we run on. `None`: their number is not what the shape
    /// and the type take, or a string is asked for.
    #[must_use]
    pub fn from_raw(dtype: DType, shape: Shape, bytes: &[u8]) -> Option<Self> {
        let wanted = elements_of(&shape)?.checked_mul(dtype.bytes())?;
        if bytes.len() != wanted || dtype == DType::String {
            return None;
        }
        if dtype == DType::Bool {
            return Some(Self::bools(shape, bytes.iter().map(|byte| *byte != 0)));
        }
        Some(crate::dtype::for_repr!(dtype, T, {
            Self::from_units(dtype, shape, bytemuck::pod_collect_to_vec::<u8, T>(bytes))
        }, else { return None }))
    }

    /// A tensor of strings. `None`: the number of elements is not that of the shape.
    #[must_use]
    pub fn from_strings(shape: Shape, elements: Vec<String>) -> Option<Self> {
        (elements_of(&shape) == Some(elements.len())).then(|| Self::strings(shape, elements))
    }

    /// The elements, if they are strings.
    #[must_use]
    pub fn texts(&self) -> Option<&[String]> {
        match &self.data {
            Data::Strings(strings) => Some(strings),
            Data::Plain(_) => None,
        }
    }

    /// The elements, if they are f32.
    #[must_use]
    pub fn f32s(&self) -> Option<&[f32]> {
        (self.dtype == DType::F32).then(|| self.get()).flatten()
    }

    /// The elements, if they are i64.
    #[must_use]
    pub fn i64s(&self) -> Option<&[i64]> {
        (self.dtype == DType::I64).then(|| self.get()).flatten()
    }

    /// A tensor of another type with the same form in memory: `bool` from `u8`, say.
    ///
    /// # Panics
    /// As [`new`](Self::new), and when the form is another one.
    pub(crate) fn with_dtype<T: Element>(
        dtype: DType,
        shape: impl Into<Shape>,
        elements: Vec<T>,
    ) -> Self {
        let shape = shape.into();
        assert_eq!(elements_of(&shape), Some(elements.len()), "elements of {shape:?}");
        assert_eq!(dtype.repr(), T::DTYPE.repr(), "{dtype} is not kept as {}", T::DTYPE);
        Self { shape, dtype, data: Data::Plain(Arc::new(Storage::from_elems(elements))) }
    }

    /// A tensor of f32 over memory that was used before.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub(crate) fn reusing(shape: impl Into<Shape>, elements: Buffer) -> Self {
        let shape = shape.into();
        assert_eq!(elements_of(&shape), Some(elements.len()), "elements of {shape:?}");
        let storage = Storage::from_elems(elements.into_all());
        Self { shape, dtype: DType::F32, data: Data::Plain(Arc::new(storage)) }
    }

    /// A tensor of booleans.
    pub(crate) fn bools(shape: impl Into<Shape>, elements: impl Iterator<Item = bool>) -> Self {
        Self::with_dtype(DType::Bool, shape, elements.map(u8::from).collect())
    }

    /// A tensor of strings.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub(crate) fn strings(shape: impl Into<Shape>, elements: Vec<String>) -> Self {
        let shape = shape.into();
        assert_eq!(elements_of(&shape), Some(elements.len()), "elements of {shape:?}");
        Self { shape, dtype: DType::String, data: Data::Strings(Arc::new(elements)) }
    }

    /// A tensor over memory that is there already. `None` when the length is not that of the shape, or a string is asked for.
    pub(crate) fn from_storage(dtype: DType, shape: Shape, storage: Arc<Storage>) -> Option<Self> {
        let bytes = elements_of(&shape)?.checked_mul(dtype.bytes())?;
        (dtype != DType::String && storage.len() == bytes).then_some(Self {
            shape,
            dtype,
            data: Data::Plain(storage),
        })
    }

    /// A tensor over pages of its own.
    ///
    /// # Panics
    /// When the number of bytes is not what shape and type take: a mistake of the caller.
    pub(crate) fn in_pages(dtype: DType, shape: Shape, pages: Pages) -> Self {
        let storage = Storage::from_shared(Bytes::from_owner(pages), AllocationProperty::Other);
        let bytes = elements_of(&shape).and_then(|elements| elements.checked_mul(dtype.bytes()));
        assert_eq!(bytes, Some(storage.len()), "bytes of {shape:?}");
        Self { shape, dtype, data: Data::Plain(Arc::new(storage)) }
    }

    /// The tensor as it is kept for long: in pages of its own if it is large, lies in the heap and nobody else holds it.
    pub(crate) fn settled(self) -> Self {
        let Data::Plain(storage) = &self.data else { return self };
        let in_heap = matches!(storage.property(), AllocationProperty::Native);
        if !in_heap || Arc::strong_count(storage) > 1 {
            return self;
        }
        match Pages::of(self.raw()) {
            Some(pages) => Self::in_pages(self.dtype, self.shape, pages),
            None => match self.storage() {
                Some(storage) => Self { data: Data::Plain(storage), ..self },
                None => self,
            },
        }
    }

    /// One element, without axes.
    pub(crate) fn scalar<T: Element>(value: T) -> Self {
        Self::new([], vec![value])
    }

    /// A tensor whose elements are all `value`.
    #[cfg(test)]
    pub(crate) fn full<T: Element>(shape: impl Into<Shape>, value: T) -> Self {
        let shape = shape.into();
        let elements = elements_of(&shape).unwrap_or(0);
        Self::new(shape, vec![value; elements])
    }

    /// Sizes per axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of axes.
    #[must_use]
    pub const fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The element type.
    #[must_use]
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Plain(_) => elements_of(&self.shape).unwrap_or_default(),
            Data::Strings(strings) => strings.len(),
        }
    }

    /// Whether an axis has size 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its elements take in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::Plain(_) => self.plain_bytes(),
            Data::Strings(strings) => {
                strings.iter().map(|text| text.len() + size_of::<String>()).sum()
            }
        }
    }

    /// The elements as they lie in memory; nothing of strings.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        match &self.data {
            Data::Plain(storage) => &storage[..self.plain_bytes()],
            Data::Strings(_) => &[],
        }
    }

    /// The elements, if they are kept as `T`.
    pub(crate) fn get<T: Element>(&self) -> Option<&[T]> {
        match &self.data {
            Data::Plain(_) if self.dtype.repr() == T::DTYPE.repr() => {
                bytemuck::try_cast_slice(self.raw()).ok()
            }
            _ => None,
        }
    }

    /// The elements as `T`.
    ///
    /// # Errors
    /// [`OpError::Type`] when they are of another type.
    pub(crate) fn as_slice<T: Element>(&self) -> Result<&[T], OpError> {
        self.get().ok_or(OpError::Type { expected: T::DTYPE.name(), found: self.dtype })
    }

    /// The elements by their width alone (`u8`, `u16`, `u32` or `u64`), for moving them about.
    ///
    /// # Errors
    /// [`OpError::Type`] when they are strings or of another width.
    pub(crate) fn as_units<T: Element>(&self) -> Result<&[T], OpError> {
        match &self.data {
            Data::Plain(_) if self.dtype.bytes() == size_of::<T>() => {
                bytemuck::try_cast_slice(self.raw())
                    .map_err(|_| OpError::Type { expected: T::DTYPE.name(), found: self.dtype })
            }
            _ => Err(OpError::Type { expected: T::DTYPE.name(), found: self.dtype }),
        }
    }

    /// A tensor of this type over elements that were moved about by their width alone.
    ///
    /// # Panics
    /// When the width or the number of elements is another one.
    pub(crate) fn from_units<T: Element>(
        dtype: DType,
        shape: impl Into<Shape>,
        units: Vec<T>,
    ) -> Self {
        let shape = shape.into();
        assert_eq!(elements_of(&shape), Some(units.len()), "elements of {shape:?}");
        assert_eq!(dtype.bytes(), size_of::<T>(), "width of {dtype}");
        Self { shape, dtype, data: Data::Plain(Arc::new(Storage::from_elems(units))) }
    }

    /// The strings.
    ///
    /// # Errors
    /// [`OpError::Type`] when they are none.
    pub(crate) fn as_strings(&self) -> Result<&[String], OpError> {
        match &self.data {
            Data::Strings(strings) => Ok(strings),
            Data::Plain(_) => Err(OpError::Type { expected: "string", found: self.dtype }),
        }
    }

    /// The elements to write on, if `T` is their type and nobody else holds them.
    pub(crate) fn make_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        if self.dtype.repr() != T::DTYPE.repr() {
            return None;
        }
        let bytes = self.plain_bytes();
        match &mut self.data {
            Data::Plain(storage) => {
                bytemuck::try_cast_slice_mut(&mut Arc::get_mut(storage)?[..bytes]).ok()
            }
            Data::Strings(_) => None,
        }
    }

    /// The elements to write on by their width alone, if nobody else holds them.
    pub(crate) fn units_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        let bytes = self.plain_bytes();
        match &mut self.data {
            Data::Plain(storage) if self.dtype.bytes() == size_of::<T>() => {
                bytemuck::try_cast_slice_mut(&mut Arc::get_mut(storage)?[..bytes]).ok()
            }
            _ => None,
        }
    }

    /// The strings to write on, if nobody else holds them.
    pub(crate) fn strings_mut(&mut self) -> Option<&mut [String]> {
        match &mut self.data {
            Data::Strings(strings) => Arc::get_mut(strings).map(Vec::as_mut_slice),
            Data::Plain(_) => None,
        }
    }

    /// The elements in memory of their own: moved out where nobody else holds them, else copied.
    ///
    /// # Errors
    /// [`OpError::Type`] when they are of another type.
    pub(crate) fn into_vec<T: Element>(self) -> Result<Vec<T>, OpError> {
        let wrong = OpError::Type { expected: T::DTYPE.name(), found: self.dtype };
        if self.dtype.repr() != T::DTYPE.repr() {
            return Err(wrong);
        }
        let (len, bytes) = (self.len(), self.plain_bytes());
        match self.data {
            Data::Plain(storage) => {
                match Arc::try_unwrap(storage).map(Storage::try_into_vec::<T>) {
                    Ok(Ok(mut elements)) => {
                        elements.truncate(len);
                        Ok(elements)
                    }
                    Ok(Err(storage)) => Ok(bytemuck::pod_collect_to_vec(&storage[..bytes])),
                    Err(shared) => Ok(bytemuck::pod_collect_to_vec(&shared[..bytes])),
                }
            }
            Data::Strings(_) => Err(wrong),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`OpError::Shape`] when that shape has another number of elements.
    pub(crate) fn reshaped(mut self, shape: impl Into<Shape>) -> Result<Self, OpError> {
        let shape = shape.into();
        if elements_of(&shape) != Some(self.len()) {
            return Err(OpError::shape(format!(
                "{:?} cannot be reshaped to {shape:?}: it has {} elements",
                self.shape,
                self.len()
            )));
        }
        self.shape = shape;
        Ok(self)
    }

    /// The same bits read as another type of the same form.
    ///
    /// # Panics
    /// When the form is another one.
    pub(crate) fn retyped(mut self, dtype: DType) -> Self {
        assert_eq!(dtype.repr(), self.dtype.repr(), "{dtype} from {}", self.dtype);
        self.dtype = dtype;
        self
    }

    /// Keeps its memory for tensors to come, if nobody else holds it and it is worth it.
    pub(crate) fn recycle(self) {
        let Data::Plain(storage) = self.data else { return };
        let large = storage.len() >= embermq_kernels::FLOATS_MIN * size_of::<f32>();
        if large
            && self.dtype == DType::F32
            && let Some(storage) = Arc::into_inner(storage)
            && let Ok(floats) = storage.try_into_vec::<f32>()
        {
            embermq_kernels::recycle(floats);
        }
    }

    /// Storage that burn's CPU backend can take over: of the elements and nothing else, copied where it is larger.
    pub(crate) fn storage(&self) -> Option<Arc<Storage>> {
        match &self.data {
            Data::Plain(all) if all.len() == self.plain_bytes() => Some(Arc::clone(all)),
            Data::Plain(_) => Some(Arc::new(Storage::from_elems(self.f32s()?.to_vec()))),
            Data::Strings(_) => None,
        }
    }

    /// Bytes of elements that are no strings.
    fn plain_bytes(&self) -> usize {
        elements_of(&self.shape).unwrap_or_default() * self.dtype.bytes()
    }

    /// The elements as 64-bit integers, whatever integer type they are: for axes, shapes and other small operands.
    ///
    /// # Errors
    /// [`OpError::Type`] when they are no integers, [`OpError::Shape`] when a `u64` does not fit.
    pub(crate) fn to_i64s(&self) -> Result<Vec<i64>, OpError> {
        if self.dtype == DType::I64 {
            return Ok(self.as_slice::<i64>()?.to_vec());
        }
        crate::dtype::for_dtype!(self.dtype, T in [i32, i16, i8, u8, u16, u32], {
            Ok(self.as_slice::<T>()?.iter().map(|value| i64::from(*value)).collect())
        }, else {
            if self.dtype == DType::U64 {
                let fits = |value: &u64| {
                    i64::try_from(*value).map_err(|_| OpError::shape(format!("{value} is too large")))
                };
                return self.as_slice::<u64>()?.iter().map(fits).collect();
            }
            Err(OpError::Type { expected: "an integer type", found: self.dtype })
        })
    }

    /// The elements as f32, converted from any numeric type; booleans are 0 and 1.
    ///
    /// # Errors
    /// [`OpError::Type`] when they are strings or floats narrower than 16 bits.
    pub(crate) fn to_f32s(&self) -> Result<Vec<f32>, OpError> {
        use num_traits::AsPrimitive;
        if self.dtype == DType::Bool {
            return Ok(self.as_slice::<u8>()?.iter().map(|bit| f32::from(*bit)).collect());
        }
        crate::dtype::for_number!(self.dtype, T, {
            Ok(self.as_slice::<T>()?.iter().map(|value| (*value).as_()).collect())
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: self.dtype })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_and_a_lone_tensor_is_written_in_place() {
        let mut one = Tensor::new([2], vec![1.0_f32, 2.0]);
        let two = one.clone();
        assert!(one.make_mut::<f32>().is_none());
        drop(two);
        one.make_mut::<f32>().unwrap()[0] = 3.0;
        assert_eq!(one.as_slice::<f32>().unwrap(), [3.0, 2.0]);
        assert!(one.make_mut::<f64>().is_none());
        assert_eq!(one.into_vec::<f32>().unwrap(), [3.0, 2.0]);
    }

    #[test]
    fn what_is_kept_for_long_leaves_the_heap() {
        let floats: Vec<f32> = (0_u16..20_000).map(f32::from).collect();
        let tensor = Tensor::new([20_000], floats.clone());
        let place = tensor.raw().as_ptr();
        // Whoever else holds it would keep it in the heap beside the copy.
        let shared = tensor.clone();
        let tensor = tensor.settled();
        assert_eq!(tensor.raw().as_ptr(), place);
        drop(shared);
        let settled = tensor.settled();
        assert_ne!(settled.raw().as_ptr(), place);
        let again = settled.raw().as_ptr();
        let settled = settled.settled();
        assert_eq!(settled.raw().as_ptr(), again);
        assert_eq!(settled.into_vec::<f32>().unwrap(), floats);
    }

    #[test]
    fn memory_that_is_larger_shows_its_front_only() {
        embermq_kernels::recycle(vec![7.0; 5000]);
        let mut small = Buffer::new(2000);
        small.fill(1.0);
        let mut tensor = Tensor::reusing([2, 1000], small);
        assert_eq!((tensor.len(), tensor.bytes(), tensor.raw().len()), (2000, 8000, 8000));
        assert_eq!(tensor.as_slice::<f32>().unwrap(), [1.0; 2000]);
        assert_eq!(tensor.as_units::<u32>().unwrap().len(), 2000);
        assert_eq!(tensor.units_mut::<u32>().unwrap().len(), 2000);
        assert_eq!(tensor.storage().unwrap().len(), 8000);
        tensor.make_mut::<f32>().unwrap().fill(2.0);
        let shared = tensor.clone();
        assert_eq!(shared.into_vec::<f32>().unwrap(), [2.0; 2000]);
        tensor.recycle();
        let tensor = Tensor::reusing([5000], Buffer::new(5000));
        assert_eq!(tensor.as_slice::<f32>().unwrap()[1999..2001], [2.0, 7.0]);
        assert_eq!(tensor.into_vec::<f32>().unwrap().len(), 5000);
        let front = Tensor::reusing([0], Buffer::new(0));
        assert!(front.is_empty());
    }

    #[test]
    fn shapes_are_counted_without_overflow() {
        assert_eq!(elements_of(&[]), Some(1));
        assert_eq!(elements_of(&[usize::MAX, 0, 7]), Some(0));
        assert_eq!(elements_of(&[usize::MAX, 2]), None);
    }

    #[test]
    fn other_types_are_refused_by_name() {
        let tensor = Tensor::bools([2], [true, false].into_iter());
        assert_eq!(tensor.as_slice::<u8>().unwrap(), [1, 0]);
        let refused = tensor.as_slice::<f32>().unwrap_err().to_string();
        assert_eq!(refused, "expected f32, found bool");
    }
}
