/*
 * Runs token ids through llama.cpp with its defaults and writes the logits of
 * every position: floats [n][n_vocab].  make_goldens.py compiles and runs it;
 * it is no part of the build.
 *
 *     llama_logits MODEL.gguf IDS.i32 OUT.f32
 */

#include <llama.h>
#include <stdio.h>
#include <stdlib.h>


int
main(int argc, char **argv)
{
    struct llama_context_params cp;
    struct llama_model_params   mp;
    struct llama_context       *ctx;
    struct llama_model         *model;
    struct llama_batch          b;
    llama_token                 ids[8192];
    FILE                       *f;
    int                         i, n, n_vocab;

    if (argc != 4 || (f = fopen(argv[2], "rb")) == NULL) {
        return 2;
    }

    n = (int) fread(ids, sizeof(ids[0]), 8192, f);
    fclose(f);

    llama_backend_init();
    mp = llama_model_default_params();
    model = llama_model_load_from_file(argv[1], mp);
    if (model == NULL) {
        return 1;
    }

    cp = llama_context_default_params();
    cp.n_ctx = (uint32_t) n;
    cp.n_batch = (uint32_t) n;
    cp.n_threads = 1;
    cp.n_threads_batch = 1;
    ctx = llama_init_from_model(model, cp);
    if (ctx == NULL) {
        return 1;
    }

    b = llama_batch_init(n, 0, 1);
    b.n_tokens = n;

    for (i = 0; i < n; i++) {
        b.token[i] = ids[i];
        b.pos[i] = i;
        b.n_seq_id[i] = 1;
        b.seq_id[i][0] = 0;
        b.logits[i] = 1;
    }

    if (llama_decode(ctx, b) != 0 || (f = fopen(argv[3], "wb")) == NULL) {
        return 1;
    }

    n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));

    for (i = 0; i < n; i++) {
        fwrite(llama_get_logits_ith(ctx, i), sizeof(float), (size_t) n_vocab,
               f);
    }

    return fclose(f) != 0;
}
