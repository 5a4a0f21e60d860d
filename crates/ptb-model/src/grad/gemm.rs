//! Matrix products on one thread, over slices with strides: the safe face of the `gemm` crate.

use gemm::Parallelism;

/// A matrix seen in a slice.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// Rows that follow each other.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` elements apart.
    pub(super) fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, stride), "a matrix larger than its slice");
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The transposed matrix; nothing is copied.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix that is written.
pub(super) struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> MatMut<'a> {
    /// Rows that follow each other.
    pub(super) fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` elements apart.
    pub(super) fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, stride), "a matrix larger than its slice");
        Self { data, rows, cols, stride }
    }
}

/// Whether the last row ends within the slice and rows do not overlap.
fn fits(len: usize, rows: usize, cols: usize, stride: usize) -> bool {
    let end = rows.saturating_sub(1).checked_mul(stride).and_then(|start| start.checked_add(cols));
    stride >= cols && (rows == 0 || end.is_some_and(|end| end <= len))
}

/// What happens to the former values of a product's destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// They are overwritten, unread.
    Set,
    /// The product is added to them.
    Add,
}

/// `dst = scale a b`, or `dst += scale a b`.
pub(super) fn product(into: Into, dst: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, scale: f32) {
    assert!(dst.rows == a.rows && dst.cols == b.cols && a.cols == b.rows, "shapes do not agree");
    multiply(into == Into::Add, dst, a, b, scale);
}

#[expect(unsafe_code, reason = "the library takes pointers; constructors checked that they fit")]
fn multiply(read: bool, dst: MatMut<'_>, a: Mat<'_>, b: Mat<'_>, scale: f32) {
    // Strides of a slice are below isize::MAX, as no allocation is larger.
    let (a_row, a_col) = (a.row_stride as isize, a.col_stride as isize);
    let (b_row, b_col) = (b.row_stride as isize, b.col_stride as isize);
    // SAFETY: each matrix lies within its slice, `dst` is borrowed alone and its rows do not overlap, and
    // the three shapes agree.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            a.cols,
            dst.data.as_mut_ptr(),
            1,
            dst.stride as isize,
            read,
            a.data.as_ptr(),
            a_col,
            a_row,
            b.data.as_ptr(),
            b_col,
            b_row,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn products_equal_the_schoolbooks() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (36, 36, 32), (65, 33, 17), (2, 3, 0), (0, 4, 4)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let (a, b) = (Mat::new(&a, m, k), Mat::new(&b, n, k).t());
            let stride = n + 3;
            let before = numbers(m * stride, 3);
            for into in [Into::Set, Into::Add] {
                let mut c = before.clone();
                product(into, MatMut::strided(&mut c, m, n, stride), a, b, 0.5);
                for (at, got) in c.iter().enumerate() {
                    let (i, j) = (at / stride, at % stride);
                    let sum: f32 =
                        (0..k).map(|l| a.data[i * k + l] * b.data[(j % n) * k + l]).sum();
                    let want = match into {
                        _ if j >= n => before[at],
                        Into::Set => 0.5 * sum,
                        Into::Add => before[at] + 0.5 * sum,
                    };
                    assert!((got - want).abs() < 1e-5, "{m} {n} {k} {i} {j}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn matrices_beyond_their_slices_are_refused() {
        assert!(fits(10, 2, 5, 5) && fits(8, 2, 3, 5) && fits(0, 0, 5, 5));
        assert!(!fits(9, 2, 5, 5) && !fits(7, 2, 3, 5) && !fits(10, 2, 5, 4));
        assert!(!fits(10, usize::MAX, 5, 5));
    }
}
