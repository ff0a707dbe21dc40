// Kernels of the operations in gpu.py; reference.py says what each computes.
//
// Whole numbers arrive as `integer` and real ones as double, whatever REAL is, so that a call needs no table of types.
// Sums run in one fixed order: the same inputs give the same bits, and nothing here is an atomic addition.
#ifndef REAL
#define REAL float
#endif
typedef REAL real;
typedef long long integer;
typedef unsigned int word;
typedef unsigned long long counter;
typedef unsigned char pixel;

#define KERNEL extern "C" __global__ void
#define FULL 0xffffffffu
#define EACH(i, n) \
    for (integer i = (integer)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (integer)gridDim.x * blockDim.x)

// ---- images -------------------------------------------------------------------------------------------------------

KERNEL gather(const pixel *images, const integer *index, const real *table, real *out, integer rows, integer columns) {
    for (integer row = blockIdx.x; row < rows; row += gridDim.x) {
        const pixel *image = images + index[row] * columns;
        for (integer j = threadIdx.x; j < columns; j += blockDim.x) out[row * columns + j] = table[image[j]];
    }
}

// ---- sums over the rows of a batch: blocks of 32 columns by 8 rows ------------------------------------------------

#define LANES 32
#define STRIPES 8

// Sum of what the 8 threads of a column hold, in all of them.
__device__ real column_sum(real mine) {
    __shared__ real part[STRIPES][LANES + 1];
    __syncthreads();
    part[threadIdx.y][threadIdx.x] = mine;
    __syncthreads();
    real sum = 0;
    for (int k = 0; k < STRIPES; ++k) sum += part[k][threadIdx.x];
    return sum;
}

// Row blockIdx.y of `out` is the sum of the rows of one chunk of x.
KERNEL sum_rows(const real *x, real *out, integer rows, integer columns, integer chunk) {
    integer column = (integer)blockIdx.x * LANES + threadIdx.x;
    integer first = blockIdx.y * chunk, last = first + chunk < rows ? first + chunk : rows;
    real sum = 0;
    if (column < columns)
        for (integer row = first + threadIdx.y; row < last; row += STRIPES) sum += x[row * columns + column];
    sum = column_sum(sum);
    if (threadIdx.y == 0 && column < columns) out[blockIdx.y * columns + column] = sum;
}

KERNEL add_row(const real *b, real *y, integer rows, integer columns) {
    integer column = (integer)blockIdx.x * LANES + threadIdx.x;
    if (column >= columns) return;
    real summand = b[column];
    for (integer row = (integer)blockIdx.y * STRIPES + threadIdx.y; row < rows; row += (integer)gridDim.y * STRIPES)
        y[row * columns + column] += summand;
}

// ---- activations ---------------------------------------------------------------------------------------------------

__device__ real erf_of(real x) { return erf(x * (real)0.70710678118654752); }
__device__ real sigmoid_of(real x) { return (real)0.5 * (1 + tanh((real)0.5 * x)); }

// The kernels of an activation y = f(x). In its derivative, `x` is what the layer keeps: the output or the input.
// `name`_rows: z += bias + skip, then y = f(z); y may be z. `name`_rows_backward: dy *= f', and column sums of one chunk
// of the rows. Blocks of both as in sum_rows. `name`_each and `name`_each_backward: arrays of any shape.
#define ACTIVATION(name, value, derivative) \
    KERNEL name##_rows(const real *b, const real *skip, real *z, real *y, integer rows, integer columns) { \
        integer column = (integer)blockIdx.x * LANES + threadIdx.x; \
        if (column >= columns) return; \
        real summand = b[column]; \
        for (integer row = (integer)blockIdx.y * STRIPES + threadIdx.y; row < rows; \
             row += (integer)gridDim.y * STRIPES) { \
            integer i = row * columns + column; \
            real x = z[i] + summand; \
            if (skip) x += skip[i]; \
            z[i] = x; \
            y[i] = value; \
        } \
    } \
    KERNEL name##_rows_backward(const real *kept, real *dy, real *out, integer rows, integer columns, integer chunk) { \
        integer column = (integer)blockIdx.x * LANES + threadIdx.x; \
        integer first = blockIdx.y * chunk, last = first + chunk < rows ? first + chunk : rows; \
        real sum = 0; \
        if (column < columns) \
            for (integer row = first + threadIdx.y; row < last; row += STRIPES) { \
                integer i = row * columns + column; \
                real x = kept[i], gradient = dy[i] * (derivative); \
                dy[i] = gradient; \
                sum += gradient; \
            } \
        sum = column_sum(sum); \
        if (threadIdx.y == 0 && column < columns) out[blockIdx.y * columns + column] = sum; \
    } \
    KERNEL name##_each(const real *from, real *to, integer n) { \
        EACH(i, n) { \
            real x = from[i]; \
            to[i] = value; \
        } \
    } \
    KERNEL name##_each_backward(const real *kept, const real *dy, real *dx, integer n) { \
        EACH(i, n) { \
            real x = kept[i]; \
            dx[i] = dy[i] * (derivative); \
        } \
    }

// activations.py says what each keeps. NaN passes.
ACTIVATION(relu, x < 0 ? (real)0 : x, x > 0 ? (real)1 : (real)0)
ACTIVATION(leaky_relu, x > 0 ? x : (real)0.01 * x, x > 0 ? (real)1 : (real)0.01)
ACTIVATION(sigmoid, sigmoid_of(x), x * (1 - x))
ACTIVATION(tanh, tanh(x), 1 - x * x)
ACTIVATION(gelu, x * ((real)0.5 * (1 + erf_of(x))),
           (real)0.5 * (1 + erf_of(x)) + x * ((real)0.39894228040143268 * exp((real)-0.5 * x * x)))
ACTIVATION(silu, x * sigmoid_of(x), sigmoid_of(x) * (1 + x * (1 - sigmoid_of(x))))

// ---- batch norm ----------------------------------------------------------------------------------------------------

KERNEL batch_norm(const real *x, const real *gamma, const real *beta, double epsilon, real *normal, real *y,
                  real *statistics, integer rows, integer columns) {
    integer column = (integer)blockIdx.x * LANES + threadIdx.x;
    bool inside = column < columns;
    real sum = 0, squares = 0;
    if (inside)
        for (integer row = threadIdx.y; row < rows; row += STRIPES) sum += x[row * columns + column];
    real mean = column_sum(sum) / rows;
    if (inside)
        for (integer row = threadIdx.y; row < rows; row += STRIPES) {
            real difference = x[row * columns + column] - mean;
            squares += difference * difference;
        }
    real variance = column_sum(squares) / rows;
    if (!inside) return;
    real deviation = sqrt(variance + (real)epsilon), factor = gamma[column], summand = beta[column];
    for (integer row = threadIdx.y; row < rows; row += STRIPES) {
        real value = (x[row * columns + column] - mean) / deviation;
        normal[row * columns + column] = value;
        y[row * columns + column] = value * factor + summand;
    }
    if (threadIdx.y == 0) {
        statistics[column] = mean;
        statistics[columns + column] = variance;
    }
}

KERNEL batch_norm_backward(const real *normal, const real *variance, const real *gamma, double epsilon, const real *dy,
                           real *dgamma, real *dbeta, real *dx, integer rows, integer columns) {
    integer column = (integer)blockIdx.x * LANES + threadIdx.x;
    bool inside = column < columns;
    real sum = 0, product = 0;
    if (inside)
        for (integer row = threadIdx.y; row < rows; row += STRIPES) {
            real gradient = dy[row * columns + column];
            sum += gradient;
            product += gradient * normal[row * columns + column];
        }
    sum = column_sum(sum);
    product = column_sum(product);
    if (!inside) return;
    real factor = gamma[column] / sqrt(variance[column] + (real)epsilon);
    for (integer row = threadIdx.y; row < rows; row += STRIPES) {
        integer i = row * columns + column;
        dx[i] = (dy[i] - sum / rows - normal[i] * (product / rows)) * factor;
    }
    if (threadIdx.y == 0) {
        dbeta[column] = sum;
        dgamma[column] = product;
    }
}

KERNEL follow(real *means, real *variances, const real *statistics, double share, double unbiased, integer columns) {
    EACH(i, columns) {
        means[i] = (real)(1 - share) * means[i] + (real)share * statistics[i];
        variances[i] = (real)(1 - share) * variances[i] + (real)unbiased * statistics[columns + i];
    }
}

// ---- random numbers: Philox4x32-10 ---------------------------------------------------------------------------------

struct words {
    word at[4];
};

__device__ words philox(word block, counter step, word seed, word stream) {
    word c0 = block, c1 = 0, c2 = (word)step, c3 = (word)(step >> 32), k0 = seed, k1 = stream;
    for (int round = 0; round < 10; ++round) {
        counter a = (counter)c0 * 0xD2511F53u, b = (counter)c2 * 0xCD9E8D57u;
        c0 = (word)(b >> 32) ^ c1 ^ k0;
        c1 = (word)b;
        c2 = (word)(a >> 32) ^ c3 ^ k1;
        c3 = (word)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

KERNEL dropout(const real *x, integer least, double factor, integer seed, integer stream, const counter *step,
               real *mask, real *y, integer rows, integer columns) {
    integer blocks = (columns + 3) / 4;
    EACH(i, rows * blocks) {
        words drawn = philox(i, *step, seed, stream);
        integer row = i / blocks, first = i % blocks * 4;
        for (int k = 0; k < 4 && first + k < columns; ++k) {
            integer place = row * columns + first + k;
            real kept = drawn.at[k] >= least ? (real)factor : (real)0;
            mask[place] = kept;
            y[place] = x[place] * kept;
        }
    }
}

// ---- losses: a warp per row; `scores` receives the loss of every row, then whether it is right ----------------------

__device__ real warp_sum(real value) {
    for (int distance = 16; distance; distance >>= 1) value += __shfl_xor_sync(FULL, value, distance);
    return value;
}

struct largest {
    real value;
    integer place;
};

// Largest value of a row and its first place; NaN is never the largest, and a row of nothing else has none.
__device__ largest warp_largest(const real *row, integer classes) {
    integer none = classes;
    largest mine = {0, none};
    for (integer k = threadIdx.x; k < classes; k += LANES)
        if (row[k] == row[k] && (mine.place == none || row[k] > mine.value)) mine = {row[k], k};
    for (int distance = 16; distance; distance >>= 1) {
        largest other = {__shfl_xor_sync(FULL, mine.value, distance), __shfl_xor_sync(FULL, mine.place, distance)};
        bool better = other.value > mine.value || (other.value == mine.value && other.place < mine.place);
        if (other.place != none && (mine.place == none || better)) mine = other;
    }
    return mine;
}

#define ROWS(row, count) \
    for (integer row = (integer)blockIdx.x * blockDim.y + threadIdx.y; row < (count); \
         row += (integer)gridDim.x * blockDim.y)

// The gradient is scale (weight p - t), with weight 1 and t one-hot where there are no targets.
KERNEL cross_entropy(const real *logits, const integer *labels, const real *targets, double scale, real *dlogits,
                     double *scores, integer rows, integer classes) {
    ROWS(row, rows) {
        const real *z = logits + row * classes;
        integer label = labels[row];
        const real *target = targets ? targets + label * classes : 0;
        largest best = warp_largest(z, classes);
        real sum = 0, weight = 0;
        for (integer k = threadIdx.x; k < classes; k += LANES) {
            sum += exp(z[k] - best.value);
            if (target) weight += target[k];
        }
        sum = warp_sum(sum);
        weight = target ? warp_sum(weight) : (real)1;
        if (threadIdx.x == 0) {
            scores[row] = log(sum) - (z[label] - best.value);
            scores[rows + row] = best.place == label;
        }
        __syncwarp();
        for (integer k = threadIdx.x; k < classes; k += LANES) {
            real wanted = target ? target[k] : (real)(k == label);
            dlogits[row * classes + k] = (real)scale * (weight * (exp(z[k] - best.value) / sum) - wanted);
        }
    }
}

#define ERROR(name, distance, slope) \
    KERNEL name(const real *outputs, const integer *labels, double factor, real *doutputs, double *scores, \
                integer rows, integer classes) { \
        ROWS(row, rows) { \
            const real *z = outputs + row * classes; \
            integer label = labels[row]; \
            largest best = warp_largest(z, classes); \
            real sum = 0; \
            for (integer k = threadIdx.x; k < classes; k += LANES) { \
                real d = z[k] - (real)(k == label); \
                sum += distance; \
                doutputs[row * classes + k] = (real)factor * (slope); \
            } \
            sum = warp_sum(sum); \
            if (threadIdx.x == 0) { \
                scores[row] = sum / classes; \
                scores[rows + row] = best.place == label; \
            } \
            __syncwarp(); \
        } \
    }

ERROR(squared_error, d * d, d)
ERROR(absolute_error, fabs(d), d > 0 ? (real)1 : d < 0 ? (real)-1 : 0 * d)

#define WIDE 512

// Sum of what the threads of the one block hold, in all of them.
__device__ double block_sum(double mine) {
    __shared__ double part[WIDE];
    __syncthreads();
    part[threadIdx.x] = mine;
    __syncthreads();
    for (int half = WIDE / 2; half; half /= 2) {
        if ((int)threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    return part[0];
}

KERNEL add_totals(const double *scores, integer rows, double *totals) {
    double loss = 0, right = 0;
    for (integer row = threadIdx.x; row < rows; row += WIDE) {
        loss += scores[row];
        right += scores[rows + row];
    }
    loss = block_sum(loss);
    right = block_sum(right);
    if (threadIdx.x == 0) {
        totals[0] += loss;
        totals[1] += right;
        totals[2] += isfinite(totals[0]) ? 1 : 0;
    }
}

KERNEL sum_weights(const real *weights, const integer *labels, integer rows, double *sum) {
    double mine = 0;
    for (integer row = threadIdx.x; row < rows; row += WIDE) mine += weights[labels[row]];
    mine = block_sum(mine);
    if (threadIdx.x == 0) *sum = mine;
}

KERNEL divide(real *x, const double *divisor, integer n) {
    real by = *divisor;
    EACH(i, n) x[i] /= by;
}

// ---- updates of the flat vector of parameters ----------------------------------------------------------------------

KERNEL add_scaled(real *y, const real *x, double factor, integer n) {
    EACH(i, n) y[i] += (real)factor * x[i];
}

KERNEL shrink(real *theta, const double *rate, double decay, integer n) {
    real factor = 1 - *rate * decay;
    EACH(i, n) theta[i] *= factor;
}

// Sum of squares of every block's share, WIDE threads a block.
KERNEL squares(const real *x, double *part, integer n) {
    double mine = 0;
    EACH(i, n) mine += (double)x[i] * x[i];
    mine = block_sum(mine);
    if (threadIdx.x == 0) part[blockIdx.x] = mine;
}

KERNEL clip(real *x, const double *part, integer parts, double largest_norm, integer n) {
    __shared__ real factor;
    if (threadIdx.x == 0) {
        double sum = 0;
        for (integer k = 0; k < parts; ++k) sum += part[k];
        double ratio = largest_norm / (sqrt(sum) + 1e-6);
        factor = ratio >= 1 ? (real)1 : (real)ratio;
    }
    __syncthreads();
    EACH(i, n) x[i] *= factor;
}

KERNEL sgd(real *theta, const real *gradient, const double *rate, integer n) {
    real step = *rate;
    EACH(i, n) theta[i] -= step * gradient[i];
}

KERNEL momentum(real *theta, const real *gradient, real *velocity, const double *rate, double mu, integer n) {
    real step = *rate;
    EACH(i, n) {
        real v = (real)mu * velocity[i] + gradient[i];
        velocity[i] = v;
        theta[i] -= step * v;
    }
}

KERNEL nesterov(real *theta, const real *gradient, real *velocity, const double *rate, double mu, integer n) {
    real step = *rate;
    EACH(i, n) {
        real g = gradient[i], v = (real)mu * velocity[i] + g;
        velocity[i] = v;
        theta[i] -= step * (g + (real)mu * v);
    }
}

KERNEL adam(real *theta, const real *gradient, real *m, real *v, const double *rate, double beta1, double beta2,
            double epsilon, const counter *step, integer n) {
    __shared__ real factor, correction;
    if (threadIdx.x == 0) {
        double t = (double)*step;
        factor = *rate / (1 - pow(beta1, t));
        correction = 1 / (1 - pow(beta2, t));
    }
    __syncthreads();
    real b1 = beta1, b2 = beta2, rest1 = 1 - beta1, rest2 = 1 - beta2;
    EACH(i, n) {
        real g = gradient[i], first = b1 * m[i] + rest1 * g, second = b2 * v[i] + rest2 * g * g;
        m[i] = first;
        v[i] = second;
        theta[i] -= factor * first / (sqrt(second * correction) + (real)epsilon);
    }
}

// ---- a step of training, counted on the device ---------------------------------------------------------------------

// The next `count` images of the order; the number of the update and its learning rate move on.
KERNEL begin_update(const integer *places, const integer *index, const integer *labels, const integer *row,
                    integer count, integer *batch_places, integer *batch_labels, const integer *number,
                    const double *rates, double *rate, counter *step, const double *totals, double *before) {
    EACH(i, count) {
        batch_places[i] = places[*row + i];
        batch_labels[i] = labels[index[*row + i]];
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        *step += 1;
        *rate = rates[*number];
        *before = totals[0];
    }
}

KERNEL end_update(integer *row, integer *number, double *losses, const double *totals, const double *before,
                  integer count) {
    losses[*number] = (totals[0] - *before) / count;
    *row += count;
    *number += 1;
}
