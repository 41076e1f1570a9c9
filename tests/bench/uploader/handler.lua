-- SPDX-License-Identifier: MIT
-- What the bench calls: uploads as many blocks as it is told, from a function, through the call's own service.
return {
    handle = function(ctx)
        local block, left = ("0123456789abcdef"):rep(16384), ctx.data.blocks
        return assert(ctx.service.file_upload:upload_new_file {
            parent_object_id = "p",
            filename = "whole",
            filesize = #block * left,
            stream = function()
                left = left - 1
                return left >= 0 and block or nil
            end,
        })
    end,
}
