/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "perilune/uri.h"
#include "services/dataflux_private.h"

/* Tokens and access keys of whoever manages; HTTP Digest of whoever calls. HTTP Basic and fixed fields need no signing:
 * dataflux_request.c sends them. */

#define NONCE_LENGTH 24

/* Path and query of an absolute URL, as the request line has them. */
static struct peri_str target_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;
    return peri_str_from(path ? path : "/");
}

static enum peri_code sign_key(struct peri_dataflux__signer *signer, const char *method, const char *url,
                               struct peri_headers *headers, struct peri_error *err)
{
    char nonce[NONCE_LENGTH + 1];
    struct peri_clock clock = peri_loop_clock(peri_client_loop(signer->client));
    peri_random_token(peri_client_random(signer->client), nonce, NONCE_LENGTH);
    return peri_access_key_sign(headers, &signer->key, method, target_of(url), peri_clock_wall_ms(clock) / 1000, nonce,
                                signer->body_md5, err);
}

static enum peri_code sign_digest(struct peri_dataflux__signer *signer, const char *method, const char *url,
                                  struct peri_headers *headers, struct peri_error *err)
{
    char cnonce[NONCE_LENGTH + 1];
    peri_random_token(peri_client_random(signer->client), cnonce, NONCE_LENGTH);
    return peri_digest_sign(headers, &signer->digest, &signer->user, method, target_of(url), cnonce,
                            signer->digest_count++, err);
}

static enum peri_code sign(void *data, const char *method, const char *url, struct peri_headers *headers,
                           struct peri_error *err)
{
    struct peri_dataflux__signer *signer = data;
    if (signer->token) {
        enum peri_code code = peri_headers_set(headers, signer->token_header, signer->token);
        if (code != PERI_OK)
            return peri_error_set(err, code, "the token can't be sent in a header: %s", peri_code_text(code));
    }
    if (signer->digest_count > 0)
        return sign_digest(signer, method, url, headers, err);
    return signer->key.id ? sign_key(signer, method, url, headers, err) : PERI_OK;
}

/* A first challenge, or one whose nonce was too old: a wrong password is not tried again for ever. */
static bool challenged(void *data, const struct peri_headers *answer)
{
    struct peri_dataflux__signer *signer = data;
    if (!signer->user.username || signer->digest_count > 0)
        return false;
    for (size_t i = 0; i < answer->count; i++) {
        if (peri_str_equal_nocase(peri_str_from(answer->items[i].name), peri_str_from("www-authenticate")) &&
            peri_digest_read(&signer->digest, answer->items[i].value, NULL) == PERI_OK) {
            signer->digest_count = 1;
            return true;
        }
    }
    return false;
}

static enum peri_code read_credentials(struct peri_dataflux__signer *signer, const json_t *credentials,
                                       const json_t *body, struct peri_error *err)
{
    enum peri_code code = peri_dataflux__check(credentials, &peri_dataflux__credentials, err);
    if (code != PERI_OK)
        return code;
    const char *auth_token = peri_dataflux__text(credentials, "auth_token");
    const char *local_token = peri_dataflux__text(credentials, "local_token");
    signer->key = (struct peri_access_key){ .id = peri_dataflux__text(credentials, "ak_id"),
                                            .secret = peri_dataflux__text(credentials, "ak_secret") };
    if ((signer->key.id != NULL) != (signer->key.secret != NULL))
        return peri_error_set(err, PERI_INVALID, "option 'credentials': an access key is both 'ak_id' and 'ak_secret'");
    signer->token_header = auth_token ? "X-Dff-Auth-Token" : "X-Localhost-Auth-Token";
    signer->token = auth_token ? auth_token : local_token;
    return signer->key.id ? peri_access_key_body_md5(body, signer->body_md5, err) : PERI_OK;
}

enum peri_code peri_dataflux__signer_init(struct peri_dataflux__signer *signer, struct peri_client *client,
                                          const json_t *args, const json_t *body, struct peri_error *err)
{
    const json_t *credentials = json_object_get(args, "credentials");
    const json_t *auth = json_object_get(args, "auth");
    const char *type = peri_dataflux__text(auth, "type");
    memset(signer, 0, sizeof *signer);
    signer->client = client;
    signer->signer = (struct peri_signer){ .data = signer, .sign = sign, .challenged = challenged };
    if (type && strcmp(type, "httpDigest") == 0)
        signer->user =
            (struct peri_password){ peri_dataflux__text(auth, "username"), peri_dataflux__text(auth, "password") };
    return json_object_size(credentials) > 0 ? read_credentials(signer, credentials, body, err) : PERI_OK;
}

bool peri_dataflux__signer_is_needed(const struct peri_dataflux__signer *signer)
{
    return signer->token || signer->key.id || signer->user.username;
}
