-- SPDX-License-Identifier: MIT
-- What the bench calls: decodes about 100 bytes of JSON and answers about as many.
return {
    handle = function(ctx)
        local data = ctx.data
        return { id = data.id, name = data.name, total = data.a + data.b, ok = true, tags = data.tags }
    end,
}
