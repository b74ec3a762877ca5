/* cblas_sgemm for the forwarder that engine/cpu/blas.py builds: OpenBLAS's, in pieces where it is faster so.

   For few rows OpenBLAS (0.3.34, its kernels for AVX-512) copies the whole matrix into an order of its own
   before it multiplies, which takes longer than the product; products of up to a million multiplications it
   computes from the matrix as it lies. So a larger product is made of such smaller ones, columns of the
   result at a time. What is faster in which order of the matrix was measured: docs/decisions/0010. */

#include <string.h>

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
enum { SMALL = 1000000, MOST_ROWS = 32, LEAST_COLUMNS = 128, LEAST_DEPTH = 800, LEAST_OUTPUTS = 16 };

void scipy_cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                       const float *b, int ldb, float beta, float *c, int ldc);
char *scipy_openblas_get_corename(void);
int scipy_openblas_get_num_threads(void);

/* Whether this machine's kernels have such small products, and no threads that share a large one. */
int fortieth_pieces(void) {
    static int known = -1;
    if (known < 0) {
        const char *core = scipy_openblas_get_corename();
        known = !strcmp(core, "SkylakeX") || !strcmp(core, "Cooperlake") || !strcmp(core, "SapphireRapids");
    }
    return known && scipy_openblas_get_num_threads() == 1;
}

/* Columns of the result to compute at a time. */
int fortieth_columns(int order, int ta, int tb, int m, int n, int k) {
    long work = (long)m * k;
    if (order != ROW_MAJOR || ta != PLAIN || m > MOST_ROWS || work == 0 || work * n <= SMALL) return n;
    long most = SMALL / work;
    if (most > 16) most -= most % 16;
    int smaller = tb == PLAIN ? most >= LEAST_COLUMNS : tb == TRANSPOSED && k >= LEAST_DEPTH && most >= LEAST_OUTPUTS;
    return smaller && fortieth_pieces() ? (int)most : n;
}

void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    int columns = fortieth_columns(order, ta, tb, m, n, k);
    if (columns == n) {
        scipy_cblas_sgemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    for (int at = 0; at < n; at += columns) {
        const float *part = b + (tb == PLAIN ? at : (long)at * ldb);
        int width = n - at < columns ? n - at : columns;
        scipy_cblas_sgemm(order, ta, tb, m, width, k, alpha, a, lda, part, ldb, beta, c + at, ldc);
    }
}
